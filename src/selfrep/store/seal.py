"""Whether a group on disk is what was written: nothing lost, nothing changed, nothing that leads elsewhere.

A disk fails, a copy ends half way, a stranger edits. Zarr then reads a fill value where a chunk is missing, and any
number where a byte has flipped. So each chunk carries a checksum (crc32c), the metadata of a group carry one of all of
them, and a group is looked over before it is read: its files, not their contents, which takes milliseconds.

This finds damage, and what could make a reader run out of memory. It does not tell who wrote a run.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from zarr.codecs import Crc32cCodec, ZstdCodec

from selfrep import digests
from selfrep.errors import SelfrepError
from selfrep.files import replace_file
from selfrep.store.records import json_of

SEAL, META = "sha256", "zarr.json"
CHECKED = (ZstdCodec(level=0), Crc32cCodec())
"""How chunks are compressed, and checked when they are read."""
LARGEST, LONGEST = 2**30, 2**24
"""Bytes of a chunk in memory, and of a metadata file, that are read at most."""
_CODECS = {"bytes", "vlen-utf8", "zstd", "crc32c"}
_TYPES = {
    "bool", "string", "float16", "float32", "float64",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
}  # fmt: skip


def seal(folder: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Write into the attributes of a group the checksum of all its metadata; `attributes` are added first."""
    group, arrays, _ = _metadata(folder, folder.name)
    group["attributes"] |= attributes or {}
    group["attributes"] |= {SEAL: digests.of_json([group, arrays])}
    replace_file(folder / META, json.dumps(group, indent=2))


def require_sound(folder: Path, name: str, *, chunks: bool = True) -> None:
    """Refuse a group that is not as it was written.

    Args:
        folder: of the group; name: what it is called in messages.
        chunks: whether its numbers must be there, too, and not only what is said of them.

    Raises:
        SelfrepError: links and other things that are no files; metadata that were changed; chunks that are not there,
            or would take too much memory. It names the file, and how to mend it.
    """
    files = set(_files(folder, name))
    group, arrays, sealed = _metadata(folder, name)
    if sealed != digests.of_json([group, arrays]):
        raise SelfrepError(_changed(folder / META, name))
    for array, meta in arrays.items() if chunks else ():
        with reading(folder / array, name):  # metadata that were forged may lack anything
            lost = next(
                (chunk for chunk in _chunks(folder / array, meta, name, len(files)) if chunk not in files), None
            )
        if lost is not None:
            raise SelfrepError(f"The group {name!r} has lost a part: {lost} is not there. {_mending(name)}")


def groups_in(store: Path) -> set[str]:
    """The names of the groups that hold arrays.

    Raises:
        SelfrepError: metadata that are damaged.
    """
    found = set()
    for file in store.glob(f"*/**/{META}"):
        place = file.parent.relative_to(store)
        if len(place.parts) > 1 and _read(file, place.as_posix(), "array")["node_type"] == "array":
            found.add(place.parent.as_posix())
    return found


@contextmanager
def reading(folder: Path, name: str) -> Iterator[None]:
    """Inside the `with` block what Zarr says of chunks that it cannot read becomes a `SelfrepError`."""
    try:
        yield
    except SelfrepError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, EOFError) as error:
        if "alloc" in str(error).lower():  # a decoder without memory: nothing is damaged
            raise MemoryError(str(error)) from error
        raise SelfrepError(f"{folder} cannot be read ({str(error)[:200]}): it is damaged. {_mending(name)}") from error


def require_own(path: Path, inside: Path) -> None:
    """Refuse to write at a place that a link leads out of the directory that it lies in.

    Raises:
        SelfrepError: it names the link.
    """
    for place in (path, *path.parents):
        if place == inside:
            return
        if place.is_symlink():
            raise SelfrepError(
                f"A run writes into its own directory; {place} is a link to {os.readlink(place)!r}. Remove the link, "
                "or choose another directory with --out."
            )


def _files(folder: Path, name: str) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _files(Path(entry.path), name)
            elif stat.S_ISREG(mode):
                yield Path(entry.path)
            else:
                raise SelfrepError(
                    f"The group {name!r} consists of files; {entry.path} is a link, or none. {_mending(name)}"
                )


def _metadata(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], object]:
    """The metadata of a group, those of its arrays, and the checksum of both that it carries."""
    group = _read(folder / META, name, "group")
    sealed = group["attributes"].pop(SEAL, None)
    found = sorted(place.parent.name for place in folder.glob(f"*/{META}"))
    return group, {array: _read(folder / array / META, name, "array") for array in found}, sealed


def _read(file: Path, name: str, kind: str) -> dict[str, Any]:
    try:
        meta = json_of(file, LONGEST)
        if meta["zarr_format"] != 3 or meta["node_type"] not in (kind, "group"):
            raise ValueError("not of this format")
        meta.setdefault("attributes", {})
        if not isinstance(meta["attributes"], dict):
            raise TypeError("attributes")
        meta.pop("consolidated_metadata", None)
        return dict(meta)
    except (SelfrepError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise SelfrepError(_changed(file, name)) from error


def _chunks(folder: Path, meta: Mapping[str, Any], name: str, most: int) -> Iterator[Path]:
    """The file of every chunk of an array."""
    if meta["node_type"] != "array":
        return
    shape, grid = meta["shape"], meta["chunk_grid"]["configuration"]["chunk_shape"]
    kind, codecs = meta["data_type"], {codec["name"] for codec in meta["codecs"]}
    known = isinstance(kind, str) and kind in _TYPES and codecs <= _CODECS
    if not known or meta["chunk_key_encoding"]["name"] != "default":
        raise SelfrepError(_changed(folder / META, name))
    width = 1 if kind in ("bool", "string") else int("".join(c for c in kind if c.isdigit())) // 8
    counts = [-(-n // max(size, 1)) for n, size in zip(shape, grid, strict=True)]
    if math.prod(grid) * width > LARGEST or math.prod(counts) > most:
        raise SelfrepError(
            f"{folder / META} describes {math.prod(counts):,} chunks of {math.prod(grid) * width:,} bytes, and there "
            f"are {most:,} files. {_mending(name)}"
        )
    separator = meta["chunk_key_encoding"].get("configuration", {}).get("separator", "/")
    for place in product(*map(range, counts)):
        yield folder / separator.join(("c", *map(str, place)))


def _changed(file: Path, name: str) -> str:
    return f"{file} is not what was written: it is damaged, or was changed. {_mending(name)}"


def _mending(name: str) -> str:
    return (
        f"Copy the run directory again; or delete the folder of {name!r} in results.zarr, and run the same command: "
        "what is missing is made again."
    )
