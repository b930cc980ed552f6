"""Adapters of peft: LoRA and its kin, in memory or in a folder of their own beside the model they were trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def is_peft(model: object) -> bool:
    """Whether a model is wrapped by peft, which is not imported for it.

    Example:
        >>> is_peft("a model")
        False
    """
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def unwrap(model: Any) -> PreTrainedModel:
    """The Hugging Face model inside a `PeftModel`, whose layers hold the adapter.

    Raises:
        SelfrepError: an adapter that is not in the layers, but puts tokens or keys of its own before each prompt.
    """
    for name in model.active_adapters:
        config = model.peft_config[name]
        if config.is_prompt_learning:
            raise SelfrepError(
                f"selfrep runs adapters that change the layers of a model, such as LoRA; {config.peft_type.value} puts "
                "virtual tokens before each prompt, which no persona says. Load the model without it, or train a LoRA."
            )
    return model.get_base_model()


def attach(hf: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The same model, its layers now with the adapter in this folder.

    Raises:
        SelfrepError: as `unwrap`; an adapter that does not fit the model.
    """
    from peft import PeftModel

    try:
        model = PeftModel.from_pretrained(hf, folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SelfrepError(f"The adapter in {folder} does not fit {hf.config._name_or_path}: {reason}") from error
    return unwrap(model)
