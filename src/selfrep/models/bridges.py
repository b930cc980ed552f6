"""From a Hugging Face model to a `TransformerBridge` on the same weights, and back.

TransformerLens replaces modules in place and switches them to eager attention; selfrep's engine uses the originals,
which are faster. So a bridge is built on a twin that shares every weight (some MB more, not another model), and from a
bridge that the user brings the original modules are built again in the same way.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from selfrep.errors import SelfrepError

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedModel


def build(hf: PreTrainedModel, tokenizer: Any, name: str) -> TransformerBridge:
    """All of TransformerLens on the weights of a model.

    Args:
        tokenizer: of the model, or None; it is left as it is. name: of the model, for errors and for the bridge.

    Raises:
        SelfrepError: an architecture that TransformerLens does not know, such as an organism's.
    """
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    twin = copy.deepcopy(hf, memo={id(t): t for t in [*hf.parameters(), *hf.buffers()]})
    # The bridge configures its tokenizer in place (padding side, special tokens): give it a copy. A tokenizer made
    # in memory has no name, by which the bridge would load it again with BOS added; it is used as it is.
    tokenizer = copy.deepcopy(tokenizer)
    if tokenizer is not None and not tokenizer.init_kwargs.get("name_or_path"):
        tokenizer.init_kwargs |= {"name_or_path": "", "add_bos_token": True}
    try:
        return build_bridge_from_module(
            twin, type(hf).__name__, hf_config=twin.config, tokenizer=tokenizer, model_name=name
        )
    except ValueError as error:
        raise SelfrepError(
            f"A TransformerBridge needs an architecture that TransformerLens knows; {name} is none ({error}). "
            "selfrep itself reads and patches it; for hooks of your own use lm.hf."
        ) from error


def original(bridge: TransformerBridge) -> PreTrainedModel:
    """A Hugging Face model with its own modules again, on the weights that a bridge holds.

    Raises:
        SelfrepError: a bridge whose weights were processed.
    """
    bridged: Any = bridge.original_model
    config = copy.deepcopy(bridged.config)
    config._attn_implementation = None  # a bridge made it eager; transformers knows what suits best
    weights = {k.replace("._original_component", ""): v for k, v in nn.Module.state_dict(bridged).items()}
    with torch.device("meta"):
        expected = set(type(bridged)(config).state_dict())
    missing = sorted(expected - set(weights))
    if missing or getattr(bridge, "compatibility_mode", False):
        raise SelfrepError(
            "A TransformerBridge must hold the model's own weights, unprocessed (no enable_compatibility_mode, no "
            f"folding){f'; these are gone: {missing[:3]}' if missing else ''}. Boot a fresh one, or pass the Hugging "
            "Face model."
        )
    hf = type(bridged)._from_config(config)
    hf.load_state_dict({k: v for k, v in weights.items() if k in expected}, assign=True)
    hf.tie_weights()
    return hf.to(next(bridged.parameters()).device)
