"""Directions into the files that other projects read."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors.torch import save

from selfrep.errors import SelfrepError
from selfrep.files import write_file, writing
from selfrep.prompts.arguments import described


def save_directions(directions: xr.DataArray, path: str | Path, *, format: str) -> Path:
    """Write directions so that another project reads them. What was read from the same format comes out bit for bit.

    Args:
        directions: [layer, d_model], of `resid_post`: from `load_directions`, or your own.
        path: the file.
        format: "persona_vectors" (.pt, a row for the embedding and for each block), "assistant_axis" (.pt, a row for
            each block), "assistant_axis_dict" (.pt, {axis, metadata}), "controlvector" (.gguf, for llama.cpp, repeng
            and vLLM), "safetensors" (`layer.l`).

    Returns:
        The path.

    Raises:
        SelfrepError: a format that is none of these; directions of another site, which its readers would not know; more
            than one for a layer; layers that the format has no place for; a file that cannot be written.

    Example:
        >>> import tempfile
        >>> from selfrep.interop.directions.load import load_directions
        >>> mine = xr.DataArray(np.eye(2, 3), {"layer": [1, 2]}, ["layer", "d_model"], attrs={"site": "resid_post"})
        >>> file = save_directions(mine, Path(tempfile.mkdtemp(), "mine.gguf"), format="controlvector")
        >>> load_directions(file, tell=lambda line: None).sel(layer=2).values.tolist()
        [0.0, 1.0, 0.0]
    """
    if format not in _WRITERS:
        raise SelfrepError(f"Directions are written as {', '.join(_WRITERS)}; got {described(format)}.")
    if directions.dims != ("layer", "d_model"):
        raise SelfrepError(
            f"What is written has the dimensions layer, d_model; got {', '.join(map(str, directions.dims))}."
        )
    if (site := directions.attrs.get("site", "resid_post")) != "resid_post":
        raise SelfrepError(
            f"Readers of {format} take directions for those after a block (resid_post); these are {site}."
        )
    if not np.isfinite(directions).all():
        raise SelfrepError("Directions are finite numbers; some of these are not.")
    return write_file(Path(path), _WRITERS[format](directions))


def _tensors(directions: xr.DataArray) -> dict[int, torch.Tensor]:
    """Block → [d], in the type of the file that it came from."""
    dtype = getattr(torch, str(directions.attrs.get("dtype", directions.dtype)), torch.float32)
    values = torch.from_numpy(np.array(directions.values)).to(dtype)
    return dict(zip(map(int, directions.layer.values), values, strict=True))


def _table(directions: xr.DataArray, format: str) -> torch.Tensor:
    """[n_layers, d], where there is a direction for every block from the first on."""
    rows = _tensors(directions)
    if sorted(rows) != list(range(len(rows))):
        raise SelfrepError(
            f"A file of {format} has a row for every block from 0 on; these are of layers {sorted(rows)}. Write them "
            "as safetensors or controlvector, which name their layers."
        )
    return torch.stack([rows[layer] for layer in sorted(rows)])


def _persona_vectors(directions: xr.DataArray) -> bytes:
    table = _table(directions, "persona_vectors")
    left: dict[int, Any] = directions.attrs.get("left_out", {})
    ends = [torch.from_numpy(np.array(left.get(row, np.zeros(table.shape[1])))) for row in (0, len(table) + 1)]
    first, last = (end.to(table.dtype)[None] for end in ends)
    return _pt(torch.cat([first, table, last]))


def _assistant_axis_dict(directions: xr.DataArray) -> bytes:
    metadata = {name: str(directions.attrs[name]) for name in ("source", "positive") if name in directions.attrs}
    return _pt({"axis": _table(directions, "assistant_axis"), "metadata": metadata})


def _safetensors(directions: xr.DataArray) -> bytes:
    return save({f"layer.{layer}": value.clone() for layer, value in _tensors(directions).items()})


def _controlvector(directions: xr.DataArray) -> bytes:
    from gguf import GGUFWriter

    rows = _tensors(directions)
    if 0 in rows:
        raise SelfrepError(
            "A control vector begins after block 1: its readers leave block 0 out. Leave it out here, too: "
            "directions.sel(layer=slice(1, None))."
        )
    with writing(Path("directions.gguf")), tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "directions.gguf")
        writer = GGUFWriter(file, "controlvector")
        writer.add_string("controlvector.model_hint", str(directions.attrs.get("model_hint", "")))
        writer.add_uint32("controlvector.layer_count", len(rows))
        for layer, value in sorted(rows.items()):
            writer.add_tensor(f"direction.{layer}", value.float().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return Path(file).read_bytes()


def _pt(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


_WRITERS: dict[str, Callable[[xr.DataArray], bytes]] = {
    "persona_vectors": _persona_vectors,
    "assistant_axis": lambda directions: _pt(_table(directions, "assistant_axis")),
    "assistant_axis_dict": _assistant_axis_dict,
    "controlvector": _controlvector,
    "safetensors": _safetensors,
}
