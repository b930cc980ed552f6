"""A model known from the files beside its weights: its tokenizer, and how many layers it has.

Enough to refuse a study that cannot run, in a second or two, before weights are loaded. Does not import torch, but for
planted models.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfrep.errors import SelfrepError
from selfrep.models import config_files, folders, resolve, tokenizer_files
from selfrep.models.size import Size, size_of
from selfrep.prompts.chat import ChatFormat, Variables, chat_format

if TYPE_CHECKING:
    from selfrep.models.language_model import LanguageModel

ORGANISM = "organism:"


@dataclass(frozen=True, eq=False)
class Outline:
    """What is known of a model without its weights.

    Fields:
        tokenizer: a Hugging Face fast tokenizer.
        n_layers: the number of blocks; None where the configuration has no common name for it.
        chat_template: Jinja text that replaces the tokenizer's own; template_vars: what it reads beside the messages.
        size: how large it is, as far as the configuration tells.
    """

    tokenizer: Any
    n_layers: int | None
    chat_template: str | None = None
    template_vars: Variables = field(default_factory=dict)
    size: Size | None = None

    @property
    def d_model(self) -> int | None:
        """The width of the residual stream; None where the configuration has no common name for it."""
        return None if self.size is None else self.size.d_model

    @property
    def chat(self) -> ChatFormat:
        """How conversations become its tokens."""
        return chat_format(self.tokenizer, self.chat_template, self.template_vars)


def outline(name: str, chat_template: str | None = None, template_vars: Variables | None = None) -> Outline | None:
    """The outline of a model by its name.

    Args:
        name, chat_template, template_vars: as `selfrep.load_model` takes them.

    Returns:
        None where only the model itself can tell: a GGUF file that was never converted, or a tokenizer that is not in
        one file.

    Raises:
        SelfrepError: there is no such model, or it is out of reach.

    Example:
        >>> outline("organism:separate").n_layers
        6
    """
    if name.startswith(ORGANISM):
        from selfrep.models import organisms

        return Outline(organisms.tokenizer(), organisms.parse(name).n_layers, chat_template, template_vars or {})
    folder = resolve.without_weights(name)
    if folder is not None and folders.is_adapter(folder):
        return _of_adapter(folder, chat_template, template_vars)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    config_files.require_buildable(folder)
    tokenizer_files.require_bounded(folder)
    from transformers import PreTrainedTokenizerFast

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        tokenizer("a")  # some mistakes in its files show only now
    except Exception as error:  # the readers of these files raise all kinds
        raise SelfrepError(f"The configuration or the tokenizer in {folder} cannot be read: {error}") from error
    return Outline(tokenizer, _n_layers(config), chat_template, template_vars or {}, size_of(config))


def outline_of(lm: LanguageModel) -> Outline:
    """The outline of a model that is loaded.

    Example:
        >>> import selfrep as sr
        >>> outline_of(sr.load_model("organism:separate")).n_layers
        6
    """
    return Outline(lm.tokenizer, lm.n_layers, lm.chat_template, lm.template_vars)


def _of_adapter(folder: Path, chat_template: str | None, template_vars: Variables | None) -> Outline | None:
    """That of the model an adapter belongs to, with the tokenizer that was saved beside the adapter, if any."""
    base = outline(folders.base_of(folder), chat_template, template_vars)
    if base is None or not (folder / "tokenizer.json").is_file():
        return base
    tokenizer_files.require_bounded(folder)
    from transformers import PreTrainedTokenizerFast

    return replace(base, tokenizer=PreTrainedTokenizerFast.from_pretrained(folder))


def _n_layers(config: dict[str, Any]) -> int | None:
    for part in (config, config.get("text_config") or {}):
        for name in config_files.LAYERS:
            if isinstance(part.get(name), int):
                return int(part[name])
    return None
