"""How large a model is, by its configuration: the numbers in its matrices, which are nearly all of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Size:
    """The size of a decoder.

    Fields:
        d_model: the width of the residual stream.
        parameters: how many numbers its weights are.
        active: with how many of them one token is multiplied: without the embedding, and of a mixture of experts those
            that it goes to.

    Example:
        >>> Size(576, 134_500_000, 134_500_000).d_model
        576
    """

    d_model: int
    parameters: int
    active: int


def size_of(config: Mapping[str, Any]) -> Size | None:
    """The size that a configuration (config.json) tells of; None where it has no common names.

    Source: the shapes of Llama's matrices, of which most decoders have the same.

    Example:
        >>> size_of({"hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 6,
        ...          "vocab_size": 10, "tie_word_embeddings": True})
        Size(d_model=4, parameters=312, active=312)
    """
    text = config.get("text_config") or config

    def number(*names: str, default: int = 0) -> int:
        return next((int(text[name]) for name in names if isinstance(text.get(name), int)), default)

    d, layers, vocabulary = (
        number("hidden_size", "n_embd", "d_model"),
        number("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
        number("vocab_size"),
    )
    if not (d and layers and vocabulary):
        return None
    heads = number("num_attention_heads", "n_head", default=1)
    keys, d_head = number("num_key_value_heads", default=heads), number("head_dim", default=d // heads)
    attention = 2 * d * d_head * (heads + keys)
    inner = number("intermediate_size", "n_inner", "ffn_dim", default=4 * d)
    gated = 2 if text.get("model_type") in ("gpt2", "gpt_neo", "gpt_neox", "opt", "phi", "bloom", "falcon") else 3
    experts = number("num_local_experts", "num_experts", "n_routed_experts")
    dense, routed = gated * d * inner, gated * d * number("moe_intermediate_size", default=inner)
    mlp, active = dense, dense
    if experts:
        shared = number("n_shared_experts") * routed
        mlp, active = experts * routed + shared, number("num_experts_per_tok", default=1) * routed + shared
    table = vocabulary * d
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", True))
    return Size(d, layers * (attention + mlp) + (1 if tied else 2) * table, layers * (attention + active) + table)
