"""Reading a folder that somebody else wrote: JSON and numbers, nothing that could run; or one clear error."""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from selfrep.errors import SelfrepError

Kind = TypeVar("Kind", bound=BaseModel)

DAMAGED = (
    AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    pickle.UnpicklingError,
)  # fmt: skip
"""What torch raises on files that are no state dict: its reader walks through them unguarded."""


def folder_of(path: str | Path) -> Path:
    """The folder itself. Raises SelfrepError where there is none."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise SelfrepError(f"A model from elsewhere is a folder; {folder} is none.")
    return folder


def one_of(folder: Path, *patterns: str) -> Path | None:
    """The one file of a folder that has a name like these, the first of them that finds any; None without.

    Raises:
        SelfrepError: several.
    """
    for pattern in patterns:
        matches = sorted(folder.glob(pattern))
        if len(matches) > 1:
            raise SelfrepError(
                f"A folder holds one model; in {folder} these are the same part of several: "
                f"{', '.join(file.name for file in matches)}. Give each a folder of its own."
            )
        if matches:
            return matches[0]
    return None


def read_json(file: Path) -> Any:
    """What a JSON file says. Raises SelfrepError where it is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SelfrepError(f"{file} must be JSON, but cannot be read: {error}.") from error


def described(file: Path, kind: type[Kind]) -> Kind:
    """A JSON file as the fields of a kind. Raises SelfrepError, naming the first field that does not fit."""
    content = read_json(file)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where, value = ".".join(map(str, first["loc"])) or "the whole", first["input"]
        got = "" if isinstance(value, (dict, list)) else f"; got {value!r}"
        raise SelfrepError(
            f"{file}: {where}: {first['msg']}{got}. It has the fields {', '.join(kind.model_fields)}."
        ) from error


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz or .safetensors file, by name, in float32.

    Raises:
        SelfrepError: a file that is damaged, or whose arrays are Python objects, which only a pickle could restore.
    """
    try:
        if file.suffix == ".safetensors":
            arrays = {name: x.float().numpy() for name, x in load_file(file).items()}  # numpy has no bfloat16
        else:
            with file.open("rb") as stream:
                archive = np.load(stream, allow_pickle=False)
                if isinstance(archive, np.ndarray):
                    raise ValueError("it is one array, without a name")
                arrays = dict(archive)
    except (OSError, ValueError, EOFError, SafetensorError, zipfile.BadZipFile, zlib.error) as error:
        raise SelfrepError(f"{file} must hold arrays of numbers, but cannot be read: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise SelfrepError(f"{file} must hold arrays of numbers; {name!r} is of {array.dtype}.")
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def read_state(file: Path) -> dict[str, np.ndarray]:
    """A state dict, from .safetensors or from torch's format with `weights_only`, by name, in float32.

    Raises:
        SelfrepError: a file that is damaged, or that holds anything but tensors.
    """
    if file.suffix == ".safetensors":
        return read_arrays(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch remarks on how the file was written
            state = torch.load(file, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        why, *_ = (*str(error).splitlines(), type(error).__name__)
        raise SelfrepError(
            f"{file} must be a state dict, read with torch.load(..., weights_only=True), but cannot be: {why} "
            f"Save it again: torch.save(model.state_dict(), {file.name!r})."
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SelfrepError(f"{file} must be a state dict, names → tensors. Save it: torch.save(model.state_dict(), …).")
    return {str(name): value.detach().float().numpy() for name, value in state.items()}


PICKLE = "is a pickle, which could run anything and is not opened."


class Arrays:
    """Arrays that are taken one by one, each in the shape that it must have."""

    def __init__(self, file: Path, arrays: Mapping[str, np.ndarray]) -> None:
        self.file = file
        self.left = dict(arrays)

    def peek(self, name: str, ndim: int) -> tuple[int, ...]:
        """The shape of an array. Raises SelfrepError where it is not there, or has not so many axes."""
        if name not in self.left:
            raise SelfrepError(f"{self.file} must hold {name!r}; it has {', '.join(sorted(self.left)) or 'nothing'}.")
        shape = self.left[name].shape
        if len(shape) != ndim:
            raise SelfrepError(f"{name!r} in {self.file} must have {ndim} axes; its shape is {list(shape)}.")
        return shape

    def take(self, name: str, *shape: int) -> Tensor:
        """An array of that shape. Raises SelfrepError for one that is not there, has another, or is not finite."""
        if (got := self.peek(name, len(shape))) != shape:
            raise SelfrepError(f"{name!r} in {self.file} must be {list(shape)}; it is {list(got)}.")
        if not np.isfinite(self.left[name]).all():
            raise SelfrepError(f"{name!r} in {self.file} must be finite numbers; some are not.")
        return torch.from_numpy(np.ascontiguousarray(self.left.pop(name)))

    def require_all_taken(self, owner: str, besides: str = "") -> None:
        """Raises SelfrepError where arrays are left that the owner ("no Tracr model") has, but for names like these."""
        if rest := [name for name in sorted(self.left) if not re.fullmatch(besides, name)]:
            raise SelfrepError(f"{self.file} holds what {owner} has: {', '.join(rest[:5])}.")
