"""What is known of a model from elsewhere: its parts, which of them are in its circuit, and what it can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from selfrep.models.external.inputs import Inputs
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms.architecture import OrganismConfig, OrganismForCausalLM

Origin = Literal["Tracr", "InterpBench"]


@dataclass(frozen=True, order=True)
class Component:
    """A head of a layer, or with `head` None its MLP."""

    layer: int
    head: int | None = None

    def __str__(self) -> str:
        return f"MLP {self.layer}" if self.head is None else f"head {self.layer}.{self.head}"


@dataclass(frozen=True, eq=False)
class KnownCircuit:
    """A model whose circuit is known.

    Attributes:
        folder: where it comes from; origin: who made it.
        lm: the model; its tokenizer knows the words of its vocabulary, or is None where inputs are given as token ids.
        circuit: the heads and MLPs that its answers pass; all others have no part in them.
        inputs: what it can be asked.
    """

    folder: Path
    origin: Origin
    lm: LanguageModel
    circuit: frozenset[Component]
    inputs: Inputs

    @property
    def name(self) -> str:
        """Origin and folder."""
        return self.lm.name

    @property
    def components(self) -> tuple[Component, ...]:
        """All its heads, layer by layer, then all its MLPs."""
        config: Any = self.lm.hf.config
        layers = range(self.lm.n_layers)
        heads = [Component(layer, head) for layer in layers for head in range(config.num_attention_heads)]
        return (*heads, *(Component(layer) for layer in layers))


def embodied(name: str, weights: Mapping[str, Tensor], tokenizer: Any, *, heads: int, **config: Any) -> LanguageModel:
    """A model with these weights, by the names of an organism's parameters, in float32 on the CPU.

    Args:
        heads: of each layer; config: what else of an `OrganismConfig` the shapes of the weights do not say.
    """
    (d_vocab, d_model), (positions, _) = (
        weights[f"model.embed_{part}.weight"].shape for part in ("tokens", "positions")
    )
    body = OrganismConfig(
        vocab_size=d_vocab,
        hidden_size=d_model,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=len(weights["model.layers.0.mlp.up_proj.weight"]),
        max_position_embeddings=positions,
        output_size=len(weights["lm_head.weight"]),
        every_bias=True,
        **config,
    )
    body._name_or_path = name
    hf = OrganismForCausalLM(body)
    hf.load_state_dict(dict(weights))
    return load_model(hf, tokenizer=tokenizer)
