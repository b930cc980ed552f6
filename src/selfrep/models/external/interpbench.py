"""A model of InterpBench, from a folder with its state dict, configuration and the edges of its circuit.

InterpBench trains transformers to keep the circuit of a compiled model, and publishes them for TransformerLens:
ll_model.pth (its state dict), ll_model_cfg.pkl and edges.pkl. The last two are pickles, which could run anything; here
they are wanted as ll_model_cfg.json and edges.json. inputs.json says what the model can be asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from selfrep.errors import SelfrepError
from selfrep.models.external import files
from selfrep.models.external.files import Arrays
from selfrep.models.external.inputs import Description, inputs, tokenizer
from selfrep.models.external.known_circuit import Component, KnownCircuit, embodied
from selfrep.models.organisms.architecture import Norm

NORMS: dict[str | None, Norm] = {None: "none", "LNPre": "plain", "LN": "affine"}
OFF = (
    "attn_only", "attn_scores_soft_cap", "final_rms", "gated_mlp", "n_key_value_heads", "num_experts",
    "output_logits_soft_cap", "parallel_attn_mlp", "post_embedding_ln", "scale_attn_by_inverse_layer_idx",
    "use_local_attn", "use_normalization_before_and_after", "use_qk_norm",
)  # fmt: skip
"""What TransformerLens can do and this body cannot; none of it is in InterpBench."""

_BUFFERS = r"blocks\.\d+\.attn\.(mask|IGNORE)"
_ENDS = re.compile(r"hook_embed|hook_pos_embed|blocks\.\d+\.hook_resid_(pre|mid|post)|(blocks\.\d+\.)?hook_normalized")
_NODE = re.compile(r"blocks\.(\d+)\.(?:(?P<in>attn|mlp)\.)?hook_(?P<hook>\w+?)(?:\[(?P<index>[^\]]*)\])?")
_TO_JSON = """\
    import json, pickle  # opening a pickle runs what it says: do this with files that you trust

    for name in ("ll_model_cfg", "edges"):
        with open(f"{name}.pkl", "rb") as file:
            said = pickle.load(file)
        if name == "edges":
            said = [[str(end) for end in edge] for edge in said]
        elif not isinstance(said, dict):
            said = said.to_dict()
        with open(f"{name}.json", "w") as file:
            json.dump(said, file, default=str)"""


class Config(BaseModel):
    """The fields of a HookedTransformerConfig that say what is computed; all others are left aside."""

    model_config = ConfigDict(extra="allow", frozen=True)

    n_layers: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    d_model: int = Field(ge=1)
    d_head: int = Field(ge=1)
    d_mlp: int = Field(ge=1)
    n_ctx: int = Field(ge=1)
    d_vocab: int = Field(ge=1)
    d_vocab_out: int = -1
    act_fn: Literal["relu", "gelu", "gelu_new", "silu"]
    normalization_type: Literal["LN", "LNPre"] | None = None
    attention_dir: Literal["causal", "bidirectional"] = "causal"
    positional_embedding_type: Literal["standard"] = "standard"
    use_attn_scale: bool = True
    attn_scale: float = -1.0
    eps: float = 1e-5


def interpbench(path: str | Path) -> KnownCircuit:
    """A trained model; in its circuit is each head and MLP that an edge of edges.json names.

    Unless inputs.json says otherwise, prompts are drawn at full length, as InterpBench draws them.

    Raises:
        SelfrepError: a file that is missing, damaged, a pickle or of the wrong shape; a part that InterpBench's models
            do not have.
    """
    folder = files.folder_of(path)
    config = files.described(_json(folder, "ll_model_cfg"), Config)
    if on := [name for name in OFF if (config.model_extra or {}).get(name) not in (None, False, 0, -1)]:
        raise SelfrepError(f"A model of InterpBench has none of {', '.join(on)}; {folder}/ll_model_cfg.json has.")
    edges = _json(folder, "edges")
    place = folder / "inputs.json"
    if not place.is_file():
        raise SelfrepError(
            f"An InterpBench folder says in inputs.json what the model can be asked; {folder} does not. For instance "
            '{"vocabulary": ["BOS", "PAD", "a", "b", "c"], "bos": "BOS", "pad": "PAD"}, in the order of their ids.'
        )
    description = files.described(place, Description)
    weights = files.one_of(folder, "ll_model*.safetensors", "ll_model*.pth")
    if weights is None:
        raise SelfrepError(f"An InterpBench folder holds ll_model.pth or ll_model.safetensors; {folder} does not.")
    arrays = Arrays(weights, files.read_state(weights))
    state = _state(arrays, config)
    arrays.require_all_taken("no model of InterpBench", besides=_BUFFERS)
    circuit = circuit_of(edges, files.read_json(edges), config.n_layers, config.n_heads)
    prompts = inputs(description, place, d_vocab=config.d_vocab, positions=config.n_ctx, shortest=config.n_ctx)
    scale = config.attn_scale if config.attn_scale > 0 else config.d_head**0.5
    lm = embodied(
        f"InterpBench {folder.resolve().name}",
        state,
        tokenizer(description),
        heads=config.n_heads,
        num_hidden_layers=config.n_layers,
        head_dim=config.d_head,
        norm=NORMS[config.normalization_type],
        layer_norm_eps=config.eps,
        hidden_act=config.act_fn,
        scaling=1 / scale if config.use_attn_scale else 1.0,
        is_causal=config.attention_dir == "causal",
    )
    return KnownCircuit(folder, "InterpBench", lm, circuit, prompts)


def circuit_of(file: Path, edges: Any, layers: int, heads: int) -> frozenset[Component]:
    """The heads and MLPs at the ends of edges, [[from, to], …] in the names of TransformerLens's hooks.

    "blocks.1.attn.hook_result[2]" and "blocks.1.hook_q_input[2]" are head 2 of layer 1, without [2] all its heads.

    Raises:
        SelfrepError: what is no list of pairs of such names, or names a layer or head that is not there.
    """
    pairs = isinstance(edges, list) and all(
        isinstance(edge, list) and len(edge) == 2 and all(isinstance(end, str) for end in edge) for edge in edges
    )
    if not pairs:
        raise SelfrepError(f"{file} must be a list of edges, each [from, to] with two names of hooks.")
    return frozenset(part for edge in edges for end in edge for part in _named(file, end, layers, heads))


def _named(file: Path, end: str, layers: int, heads: int) -> Iterable[Component]:
    if _ENDS.fullmatch(end):
        return ()
    node = _NODE.fullmatch(end)
    if node is None:
        raise SelfrepError(f"The end of an edge is the name of a hook; {file} has {end!r}.")
    layer, hook = int(node[1]), node["hook"]
    numbers = re.findall(r"\d+", node["index"] or "")
    head = int(numbers[-1]) if numbers else None
    if layer >= layers or (head is not None and head >= heads):
        raise SelfrepError(f"The model has {layers} layers of {heads} heads; {file} has {end!r}.")
    if node["in"] == "mlp" or hook.startswith("mlp"):
        return (Component(layer),)
    if node["in"] == "attn" or hook.startswith(("attn", "q", "k", "v", "result", "z")):
        return (Component(layer, head),) if head is not None else [Component(layer, h) for h in range(heads)]
    raise SelfrepError(f"The end of an edge is a hook of a head or of an MLP; {file} has {end!r}.")


def _json(folder: Path, name: str) -> Path:
    """A JSON file of the folder, which may stand there as a pickle instead."""
    file = files.one_of(folder, f"{name}.json", f"{name}_*.json")
    if file is not None:
        return file
    rule = f"An InterpBench folder holds {name}.json; {folder} does not."
    if pickled := files.one_of(folder, f"{name}.pkl", f"{name}_*.pkl"):
        rule += f" {pickled.name} {files.PICKLE} Turn it into JSON yourself:\n{_TO_JSON}"
    raise SelfrepError(rule)


def _state(arrays: Arrays, config: Config) -> dict[str, Tensor]:
    """TransformerLens's state dict under the names of the body."""
    d, n, size, neurons = config.d_model, config.n_heads, config.d_head, config.d_mlp
    outputs = config.d_vocab if config.d_vocab_out == -1 else config.d_vocab_out
    state = {
        "model.embed_tokens.weight": arrays.take("embed.W_E", config.d_vocab, d),
        "model.embed_positions.weight": arrays.take("pos_embed.W_pos", config.n_ctx, d),
        "lm_head.weight": arrays.take("unembed.W_U", d, outputs).T,
        "lm_head.bias": arrays.take("unembed.b_U", outputs),
    }
    norms = {"model.norm": "ln_final"}
    for layer in range(config.n_layers):
        at, to = f"blocks.{layer}", f"model.layers.{layer}"
        for letter in "QKV":
            name = f"{to}.self_attn.{letter.lower()}_proj"
            state[f"{name}.weight"] = arrays.take(f"{at}.attn.W_{letter}", n, d, size).mT.flatten(0, 1)
            state[f"{name}.bias"] = arrays.take(f"{at}.attn.b_{letter}", n, size).flatten()
        state[f"{to}.self_attn.o_proj.weight"] = arrays.take(f"{at}.attn.W_O", n, size, d).flatten(0, 1).T
        state[f"{to}.self_attn.o_proj.bias"] = arrays.take(f"{at}.attn.b_O", d)
        state[f"{to}.mlp.up_proj.weight"] = arrays.take(f"{at}.mlp.W_in", d, neurons).T
        state[f"{to}.mlp.up_proj.bias"] = arrays.take(f"{at}.mlp.b_in", neurons)
        state[f"{to}.mlp.down_proj.weight"] = arrays.take(f"{at}.mlp.W_out", neurons, d).T
        state[f"{to}.mlp.down_proj.bias"] = arrays.take(f"{at}.mlp.b_out", d)
        norms |= {f"{to}.input_layernorm": f"{at}.ln1", f"{to}.post_attention_layernorm": f"{at}.ln2"}
    if config.normalization_type == "LN":
        for to, at in norms.items():
            state |= {f"{to}.weight": arrays.take(f"{at}.w", d), f"{to}.bias": arrays.take(f"{at}.b", d)}
    return state
