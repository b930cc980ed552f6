"""A model that Tracr compiled from a RASP program, from a folder with its parameters and what it says of itself.

params.npz, or params.safetensors: Tracr's own arrays under its own names, "token_embed/embeddings",
"pos_embed/embeddings", "transformer/layer_0/attn/query/w" …, and "unembed" [d_model, output], which Tracr keeps apart.
config.json: the fields of `Config`. docs/validation.md has the lines that write both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field
from torch import Tensor

from selfrep.errors import SelfrepError
from selfrep.models.external import files
from selfrep.models.external.files import Arrays
from selfrep.models.external.inputs import Description, inputs, tokenizer
from selfrep.models.external.known_circuit import Component, KnownCircuit, embodied

_LAYER = re.compile(r"transformer/layer_(\d+)/")
_TO_ARRAYS = """\
    arrays = {f"{module}/{name}": np.asarray(x) for module, own in model.params.items() for name, x in own.items()}
    np.savez("params.npz", **arrays, unembed=unembed)"""


class Config(Description):
    """config.json of a Tracr folder: what inputs it takes (`vocabulary` is its `input_encoder.encoding_map`), and what
    its arrays do not say."""

    num_heads: int = Field(ge=1)
    key_size: int = Field(ge=1)
    causal: bool
    activation: Literal["relu", "gelu"] = "relu"
    layer_norm: Literal[False] = False


def tracr(path: str | Path) -> KnownCircuit:
    """A compiled model; in its circuit is each head and MLP to which the compiler gave weights.

    Unless config.json says otherwise, prompts are drawn at every length, since programs may count.

    Raises:
        SelfrepError: a file that is missing, damaged, a pickle or of the wrong shape; an activation or norm that
            compiled models do not have.
    """
    folder = files.folder_of(path)
    place = folder / "config.json"
    if not place.is_file():
        fields = ", ".join(Config.model_fields)
        raise SelfrepError(f"A Tracr folder holds config.json, with {fields}; {folder} does not.")
    config = files.described(place, Config)
    arrays = _arrays(folder)
    d_vocab, d = arrays.peek("token_embed/embeddings", 2)
    positions, _ = arrays.peek("pos_embed/embeddings", 2)
    _, outputs = arrays.peek("unembed", 2)
    _, neurons = arrays.peek("transformer/layer_0/mlp/linear_1/w", 2)
    layers = 1 + max(int(match[1]) for name in arrays.left if (match := _LAYER.match(name)))
    weights = {
        "model.embed_tokens.weight": arrays.take("token_embed/embeddings", d_vocab, d),
        "model.embed_positions.weight": arrays.take("pos_embed/embeddings", positions, d),
        "lm_head.weight": (unembed := arrays.take("unembed", d, outputs)).T,
        "lm_head.bias": unembed.new_zeros(outputs),
    }
    circuit: set[Component] = set()
    for layer in range(layers):
        block, written = _block(arrays, layer, d, config.num_heads, config.key_size, neurons)
        weights |= block
        circuit |= written
    arrays.require_all_taken("no Tracr model")
    prompts = inputs(config, place, d_vocab=d_vocab, positions=positions, shortest=2)
    lm = embodied(
        f"Tracr {folder.resolve().name}",
        weights,
        tokenizer(config),
        heads=config.num_heads,
        num_hidden_layers=layers,
        head_dim=config.key_size,
        hidden_act=config.activation,
        scaling=config.key_size**-0.5,
        is_causal=config.causal,
    )
    return KnownCircuit(folder, "Tracr", lm, frozenset(circuit), prompts)


def _arrays(folder: Path) -> Arrays:
    file = files.one_of(folder, "params.safetensors", "params.npz")
    if file is None:
        pickles = sorted(f.name for pattern in ("*.pkl", "*.pickle", "*.dill") for f in folder.glob(pattern))
        rule = f"A Tracr folder holds its parameters in params.npz or params.safetensors; {folder} does not."
        if pickles:
            rule += f" {', '.join(pickles)} {files.PICKLE}"
        raise SelfrepError(f"{rule} Where Tracr has compiled the model:\n{_TO_ARRAYS}")
    return Arrays(file, files.read_arrays(file))


def _block(
    arrays: Arrays, layer: int, d: int, heads: int, size: int, neurons: int
) -> tuple[dict[str, Tensor], set[Component]]:
    """The parameters of a layer, and which of its heads and MLP the compiler wrote."""
    width, at, to = heads * size, f"transformer/layer_{layer}", f"model.layers.{layer}"
    parts = {
        "self_attn.q_proj": ("attn/query", d, width),
        "self_attn.k_proj": ("attn/key", d, width),
        "self_attn.v_proj": ("attn/value", d, width),
        "self_attn.o_proj": ("attn/linear", width, d),
        "mlp.up_proj": ("mlp/linear_1", d, neurons),
        "mlp.down_proj": ("mlp/linear_2", neurons, d),
    }
    weights: dict[str, Tensor] = {}
    for module, (name, rows, columns) in parts.items():
        weights[f"{to}.{module}.weight"] = arrays.take(f"{at}/{name}/w", rows, columns).T
        weights[f"{to}.{module}.bias"] = arrays.take(f"{at}/{name}/b", columns)
    reads = weights[f"{to}.self_attn.v_proj.weight"].unflatten(0, (heads, size))
    writes = weights[f"{to}.self_attn.o_proj.weight"].unflatten(1, (heads, size))
    written = {Component(layer, head) for head in range(heads) if bool(reads[head].any() and writes[:, head].any())}
    if bool(weights[f"{to}.mlp.down_proj.weight"].any()):
        written.add(Component(layer))
    return weights, written
