"""Groups of arrays in a Zarr store, each written all at once: beside the store, and moved in when it is whole.

What is larger than memory is written part after part, and may stay on disk when it is read. Groups that take long are
filled row by row: see `selfrep.store.rows`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from selfrep.errors import SelfrepError
from selfrep.files import writing
from selfrep.store import seal
from selfrep.store.layout import CHUNK, WHOLE, chunks, consolidate, in_order, retyped, storable
from selfrep.store.owner import changing

_MADE, _MADE_OF = "made", "made_of"
"""Attributes of a group: a word of its own for each time it is made, and those of the groups that it was made of."""
_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Groups:
    """The groups of the Zarr store in a folder, read and written as xarray Datasets.

    Fields:
        path: the folder.

    Example:
        >>> import tempfile
        >>> run = Groups(Path(tempfile.mkdtemp()))
        >>> run.create()
        >>> run.write("separation", xr.Dataset({"estimate": ("layer", [0.1, 0.4])}))
        >>> run.groups(), run.read("separation").estimate.values.tolist()
        (('separation',), [0.1, 0.4])
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def store(self) -> Path:
        """The Zarr store of all groups; any Zarr library reads it."""
        return self.path / "results.zarr"

    def create(self) -> None:
        """Create the store where there is none, and clear what a killed process left half written beside it."""
        for stale in self.store.parent.glob(f"{_PARTIAL}*"):
            shutil.rmtree(stale)
        zarr.open_group(self.store, mode="a", zarr_format=3)
        consolidate(self.store)

    # ---- whole groups -----------------------------------------------------------------------------------------------

    def groups(self) -> tuple[str, ...]:
        """The names of the groups that hold arrays, e.g. "effects/resid_pre", sorted."""
        return tuple(sorted(seal.groups_in(self.store))) if self.store.is_dir() else ()

    def has(self, group: str) -> bool:
        """Whether the group is there (finished or not: see `pending`)."""
        return (self.store / group / "zarr.json").is_file()

    def read(self, group: str, *, most: float = float("inf")) -> xr.Dataset:
        """The group as a Dataset, its texts as numpy strings, its variables sorted by name.

        Args:
            group: its name.
            most: how many bytes a variable may take in memory; one that is larger stays on disk, and what is asked of
                it is read anew each time. All are in memory by default.

        Raises:
            SelfrepError: no such group; the message lists those that exist.
        """
        self._require(group)
        folder = self.store / group
        seal.require_sound(folder, group)
        with (
            seal.reading(folder, group),
            xr.open_dataset(
                self.store, engine="zarr", group=group, consolidated=False, chunks=None, cache=False
            ) as stored,
        ):
            for variable in stored.variables.values():
                if variable.nbytes <= most:
                    variable.load()
            _bare(stored.attrs)
            return in_order(retyped(stored, np.dtype(str))).drop_encoding()

    def attributes(self, group: str) -> dict[str, Any]:
        """The attributes of the group, without reading any of its arrays.

        Raises:
            SelfrepError: no such group; the message lists those that exist.
        """
        return _bare(self._attributes(group))

    def _attributes(self, group: str) -> dict[str, Any]:
        self._require(group)
        seal.require_sound(self.store / group, group, chunks=False)
        return dict(zarr.open_group(self.store, path=group, mode="r", use_consolidated=False).attrs)

    def write(self, group: str, dataset: xr.Dataset, *, made_of: Iterable[str] = ()) -> None:
        """Write the group, or replace it, all at once.

        Args:
            group: its name; dataset: all of it; made_of: the groups that it was made of (see `is_current`).

        Raises:
            SelfrepError: a full disk, or a store that may not be written.
        """
        with self._installing(group, {of: self._made(of) for of in sorted(made_of)}) as new, writing(self.store):
            _write(new, dataset)

    def is_current(self, group: str) -> bool:
        """Whether the group is there, and what it was made of has not been made anew since.

        Example:
            >>> run = Groups(Path(tempfile.mkdtemp()))
            >>> run.create()
            >>> for group, made_of in (("answers", ()), ("mean", ("answers",))):
            ...     run.write(group, xr.Dataset({"x": ("row", [1.0])}), made_of=made_of)
            >>> run.is_current("mean")
            True
            >>> run.write("answers", xr.Dataset({"x": ("row", [2.0])}))
            >>> run.is_current("mean")
            False
        """
        if not self.has(group):
            return False
        made_of = self._attributes(group).get(_MADE_OF)
        return not isinstance(made_of, dict) or all(
            self.has(of) and self._made(of) == made for of, made in made_of.items()
        )

    def _made(self, group: str) -> Any:
        """What tells the making of a group from any other."""
        return self._attributes(group).get(_MADE)

    @contextmanager
    def growing(self, group: str, along: str) -> Iterator[Callable[[xr.Dataset], None]]:
        """Write a group part after part, for what is larger than memory. It is there once all parts are.

        Args:
            group: its name.
            along: the dimension along which parts follow one another.

        Yields:
            What takes the next part; its attributes replace those of the parts before it. Variables without the
            dimension are those of the first part.

        Raises:
            SelfrepError: a full disk, or a store that may not be written.

        Example:
            >>> run = Groups(Path(tempfile.mkdtemp()))
            >>> run.create()
            >>> with run.growing("separation", "layer") as append:
            ...     for layer in range(3):
            ...         append(xr.Dataset({"estimate": ("layer", [0.1 * layer])}, {"layer": [layer]}))
            >>> run.read("separation").layer.values
            array([0, 1, 2])
        """
        with self._installing(group) as new:
            waiting: list[xr.Dataset] = []

            def flush() -> None:
                part = xr.concat(waiting, along, data_vars="minimal", coords="minimal", compat="override")
                part = part.assign_attrs(waiting[-1].attrs)
                waiting.clear()
                with writing(self.store):
                    if new.exists():
                        part = part[[name for name, v in part.variables.items() if along in v.dims]]
                        with zarr.config.set(WHOLE):
                            storable(part).to_zarr(new, append_dim=along, consolidated=False)
                    else:
                        _write(new, part)

            def append(part: xr.Dataset) -> None:
                waiting.append(part)
                if sum(part.nbytes for part in waiting) >= CHUNK:
                    flush()

            yield append
            if waiting:
                flush()

    def annotate(self, group: str, known: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
        """Add attributes to a group, or replace them: those that are known only once its rows have been computed.

        Args:
            group: its name; known: from the attributes that are there to those that are added. What another process
                added stays in sight: they come one after the other.

        Raises:
            SelfrepError: no such group, or a store that may not be written.
        """
        with changing(self.path):
            before = self.attributes(group)
            added = known(before)
            if all(before.get(name) == value for name, value in added.items()):
                return
            with writing(self.store):
                seal.seal(self.store / group, added)
                consolidate(self.store)

    # ---- how a group gets in and out --------------------------------------------------------------------------------

    def _require(self, group: str) -> None:
        if not self.has(group):
            raise SelfrepError(
                f"{self.store} has no group {group!r}. It holds: {', '.join(self.groups()) or 'nothing yet'}."
            )

    def _install(self, group: str, dataset: xr.Dataset, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
        with self._installing(group) as new, writing(self.store):
            _write(new, dataset, shapes)

    @contextmanager
    def _installing(self, group: str, made_of: Mapping[str, Any] | None = None) -> Iterator[Path]:
        """A folder beside the store, for what becomes the group at the end."""
        target = self.store / group
        seal.require_own(target, self.path)
        with writing(self.store):
            self.store.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.store.parent))
        try:
            yield scratch / "new"
            with writing(self.store):
                seal.seal(scratch / "new", {_MADE: uuid.uuid4().hex, _MADE_OF: dict(made_of or {})})
                root = zarr.open_group(self.store, mode="a", zarr_format=3)
                if parent := group.rpartition("/")[0]:
                    root.require_group(parent)
                if target.exists():
                    os.replace(target, scratch / "old")
                os.replace(scratch / "new", target)
                consolidate(self.store)
        finally:
            _remove(scratch)


def _write(place: Path, dataset: xr.Dataset, shapes: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Write a dataset where nothing is; `shapes` are those of chunks, where they are not as large as may be."""
    shaped = chunks(dataset) | dict(shapes or {})
    encoding = {
        str(name): {"compressors": seal.CHECKED} | ({"chunks": shaped[str(name)]} if str(name) in shaped else {})
        for name in dataset.variables
    }
    with zarr.config.set(WHOLE):
        storable(dataset).to_zarr(place, zarr_format=3, consolidated=False, encoding=encoding)


def _bare(attributes: dict[Any, Any]) -> dict[Any, Any]:
    """Attributes without those that are the store's own."""
    for name in (seal.SEAL, _MADE, _MADE_OF):
        attributes.pop(name, None)
    return attributes


def _remove(scratch: Path) -> None:
    """Remove a folder; when a write has failed, threads of zarr may still be at work in it for a moment."""
    for _ in range(20):
        shutil.rmtree(scratch, ignore_errors=True)
        if not scratch.exists():
            return
        time.sleep(0.05)
