"""Directions from elsewhere, as one array by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.harmless import for_terminal
from selfrep.interop.directions.files import opened
from selfrep.interop.directions.formats import Rows, rows_of


def load_directions(
    source: Any,
    *,
    format: str | None = None,
    layer_offset: int | None = None,
    tell: Callable[[str], None] = print,
) -> xr.DataArray:
    """Read directions that another project made, and say which of its rows belongs to which block.

    Args:
        source: a file (.pt, .safetensors, .gguf), or an object of the library steering-vectors. Nothing is unpickled.
        format: who wrote it, where its name and content do not tell: "persona_vectors", "assistant_axis",
            "refusal_direction", "safetensors".
        layer_offset: block less row, in place of what the format says: a control vector by llama.cpp's own generator
            counts one more than others and is read with −1. Then no row is left out but those before block 0.
        tell: hears the convention that was applied.

    Returns:
        [layer, d_model], or [layer, component, d_model] where a file has several for each layer; layers are 0-indexed
        blocks. Its attributes: `site` (where in the block it belongs), `format`, `convention` (a sentence: which row
        became which block, and what was left out), `positive` (what lies in its direction), `dtype` (of the file;
        values are float32, or float64 where that was the file's), `source`.

    Raises:
        SelfrepError: a file that is missing, cut short, pickled, empty, or of another kind; rows of several widths;
            numbers that are not finite; an offset that leaves no block.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "evil_response_avg_diff.pt")
        >>> torch.save(torch.eye(4, 3), file)  # a model of three blocks: the embedding, and after each block
        >>> evil = load_directions(file)
        evil_response_avg_diff.pt: row l is block l − 1 at resid_post; left out: row 0 (the embedding), row 3 (after ...
        >>> evil.layer.values.tolist(), evil.sel(layer=0).values.tolist(), evil.site
        ([0, 1], [0.0, 1.0, 0.0], 'resid_post')
    """
    path = Path(source).expanduser() if isinstance(source, str | Path) else None
    rows = rows_of(source if path is None else opened(path), path, format)
    name = type(source).__name__ if path is None else path.name
    if layer_offset is not None:
        rows = replace(rows, offset=layer_offset, left_out={})
    kept = {row + rows.offset: value for row, value in sorted(rows.values.items()) if row not in rows.left_out}
    gone = {row: value for row, value in rows.values.items() if row in rows.left_out}
    kept = {block: value for block, value in kept.items() if block >= 0}
    if not kept:
        raise SelfrepError(
            f"{name} holds no direction of a block; its rows are {sorted(rows.values)}, and block 0 would be row "
            f"{-rows.offset}."
        )
    if len(widths := {tuple(value.shape) for value in rows.values.values()}) > 1:
        raise SelfrepError(f"Directions of one model have one width; those in {name} have {sorted(widths)}.")
    values = torch.stack([_wide(value) for value in kept.values()]).numpy()
    if not np.isfinite(values).all():
        bad = [block for block, value in zip(kept, values, strict=True) if not np.isfinite(value).all()]
        raise SelfrepError(f"Directions are finite numbers; those of layers {bad} in {name} are not.")
    dims: list[str] = ["layer", "d_model"]
    coords: dict[str, list[Any]] = {"layer": list(kept)}
    if rows.components:
        dims.insert(1, "component")
        coords["component"] = list(rows.components)
    attrs = {
        "site": rows.site,
        "format": rows.format,
        "convention": (convention := _convention(rows)),
        "positive": rows.positive,
        "dtype": str(next(iter(kept.values())).dtype).removeprefix("torch."),
        "source": name,
        **rows.also,
        **({"left_out": {row: _wide(value).numpy() for row, value in gone.items()}} if gone else {}),
    }
    tell(for_terminal(f"{name}: {convention}"))
    return xr.DataArray(values, coords, dims, name="direction", attrs=attrs)


def _wide(value: torch.Tensor) -> torch.Tensor:
    """In a type that numpy has, and that holds every value of its own."""
    return value.detach() if value.dtype == torch.float64 else value.detach().float()


def _convention(rows: Rows) -> str:
    sign = f" {'+' if rows.offset > 0 else '−'} {abs(rows.offset)}" if rows.offset else ""
    left = ", ".join(f"row {row} ({why})" for row, why in sorted(rows.left_out.items()))
    return f"row l is block l{sign} at {rows.site}" + (f"; left out: {left}." if left else ".")
