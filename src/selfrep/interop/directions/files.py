"""The files that directions come in, opened so that nothing in them can run."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from selfrep.errors import SelfrepError
from selfrep.models.external.files import DAMAGED

MOST = 2**32
"""Bytes of a file that are read at most: directions of the largest models take a few megabytes."""


def opened(path: Path) -> Any:
    """What a file holds: a tensor, or a mapping of them and of plain values.

    Raises:
        SelfrepError: no such file; one that is empty, cut short, or of another kind; a pickle.
    """
    if not path.is_file():
        raise SelfrepError(f"Directions are read from a file; there is none at {path}.")
    if not 0 < path.stat().st_size <= MOST:
        raise SelfrepError(f"{path} holds no directions: it has {path.stat().st_size:,} bytes.")
    match path.suffix:
        case ".pt" | ".pth":
            return _torch(path)
        case ".safetensors":
            return _safetensors(path)
        case ".gguf":
            return _gguf(path)
    raise SelfrepError(f"Directions come in .pt, .safetensors or .gguf files; got {path.name!r}.")


def _torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on how the file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        why, *_ = (*str(error).splitlines(), type(error).__name__)
        raise SelfrepError(
            f"{path} must hold tensors alone, and is not opened otherwise, since a pickle could run anything: "
            f"{why[:200]} Whoever trusts it saves the tensors again: torch.save(tensor, {path.name!r})."
        ) from None


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise SelfrepError(f"{path} cannot be read: {str(error)[:200]}. Fetch it again.") from None


def _gguf(path: Path) -> dict[str, Any]:
    """The tensors of a GGUF file by name, and what it says of itself under "metadata"."""
    from gguf import GGMLQuantizationType, GGUFReader

    with path.open("rb") as stream:
        begins = stream.read(4)
    if begins != b"GGUF":
        raise SelfrepError(f"{path} is no GGUF file: it does not begin with those letters.")
    try:
        reader = GGUFReader(path)
        metadata = {name: field.contents() for name, field in reader.fields.items()}
        tensors: dict[str, Any] = {}
        for tensor in reader.tensors:
            if tensor.tensor_type != GGMLQuantizationType.F32:
                raise SelfrepError(f"{path}: directions are of F32; {tensor.name!r} is of {tensor.tensor_type.name}.")
            tensors[tensor.name] = torch.from_numpy(np.array(tensor.data, dtype=np.float32))
    except (*DAMAGED, OverflowError, MemoryError) as error:
        raise SelfrepError(f"{path} cannot be read: {str(error)[:200]}. It is cut short or damaged.") from None
    return {**tensors, "metadata": metadata}


def sidecar(path: Path) -> Mapping[str, Any]:
    """What a JSON file beside it says: `direction_metadata.json` of `direction.pt`; nothing where there is none."""
    file = path.with_name(f"{path.stem}_metadata.json")
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SelfrepError(f"{file} must be JSON, but cannot be read: {error}.") from None
    return content if isinstance(content, Mapping) else {}
