"""Files of directions whose rows are numbered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from selfrep.interop.directions.load import load_directions

N, D = 4, 8


def numbered(rows: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """[rows, D]: row i holds i + 1 everywhere."""
    return (torch.arange(rows)[:, None] + torch.ones(D)).to(dtype)


def load(source: Any, **how: Any) -> Any:
    return load_directions(source, tell=lambda line: None, **how)


def of_rows(directions: Any) -> dict[int, float]:
    """Block → the number of its row, counted from 0."""
    return {int(layer): float(directions.sel(layer=layer)[0]) - 1 for layer in directions.layer}


def save(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def gguf(path: Path, kind: str, first: int = 1) -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(str(path), kind)
    writer.add_string(f"{kind}.model_hint", "llama")
    writer.add_uint32(f"{kind}.layer_count", 3)
    for k in range(first, first + 3):
        writer.add_tensor(f"direction.{k}", numbered(9)[k].numpy())
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return path
