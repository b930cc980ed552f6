"""Groups of arrays in a Zarr store: written all at once, or row by row by a run that may be killed at any moment.

What is larger than memory is written part after part, and may stay on disk when it is read.

Two rules keep a store whole. A group appears all at once: it is written beside the store and moved in. A group that
takes long is allocated beforehand with `done` false for every row (a pair, or a prompt). The data of a row are written
first and its `done` last, so a process killed at any moment leaves no row that looks finished and is not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import xarray as xr
import zarr

from selfrep.errors import SelfrepError
from selfrep.files import writing
from selfrep.store import seal
from selfrep.store.layout import CHUNK, WHOLE, chunks, consolidate, in_order, measured, retyped, storable
from selfrep.store.owner import changing
from selfrep.store.shard import Shard

Axis = Literal["pair", "prompt"]
"""What a group may grow along."""
DONE = "done"
_FILLED = "fills"  # the attribute of `done` that names the variables a row must bring before it counts as done
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
        >>> run.prepare("effects/resid_pre", xr.Dataset({"patched": (("pair", "layer"), np.zeros((2, 3)))}))
        >>> run.write_rows("effects/resid_pre", [1], xr.Dataset({"patched": (("pair", "layer"), np.ones((1, 3)))}))
        >>> run.pending("effects/resid_pre").tolist()
        [0]
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

    def grows(self, group: str) -> bool:
        """Whether the group is one that `write_rows` fills."""
        return (self.store / group / DONE / "zarr.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether anything was measured: a row of a group that grows, or a group written whole."""
        marks = (self._arrays(group, "r").get(DONE) for group in self.groups())
        return any(done is None or bool(np.asarray(done).any()) for done in marks)

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

    # ---- groups that grow row by row --------------------------------------------------------------------------------

    def prepare(self, group: str, template: xr.Dataset, along: Axis = "pair", *, at_once: int = 1) -> None:
        """Allocate a group that `write_rows` fills: `done` false, and every float variable over `along` NaN.

        Args:
            group: its name; along: the dimension of its rows.
            at_once: how many rows are stored together, as many as are written at once: a file for each small row fills
                a disk with the ends of files.
            template: the whole group. Its float variables over `along` are filled later; all else in it (coordinates,
                ids, attributes) is final.

        Where the group exists, nothing is written, and the template must agree with it.

        Raises:
            SelfrepError: the template does not agree; a full disk.
        """
        filled = measured(template, along)
        blank = template.assign({name: xr.full_like(template[name], np.nan) for name in filled})
        blank[DONE] = (along, np.zeros(template.sizes[along], dtype=bool), {_FILLED: filled})
        with changing(self.path):
            if not self.has(group):
                self._install(group, blank, {name: (at_once, *blank[name].shape[1:]) for name in (*filled, DONE)})
                return
        stored, wanted = self.read(group), retyped(blank, np.dtype(str))
        fixed = [name for name in wanted.variables if name not in (*filled, DONE)]
        same = set(stored.variables) == set(wanted.variables) and stored.sizes == wanted.sizes
        if not (same and all(stored[name].variable.equals(wanted[name].variable) for name in fixed)):
            raise SelfrepError(
                f"The group {group!r} in {self.store} was begun with other prompts, layers or positions than now, "
                "though the study is the same: the program has changed in between. Choose another "
                "directory with --out, or remove this one."
            )

    def pending(self, group: str, shard: Shard | None = None) -> np.ndarray:
        """Indices [k] (int64) of the rows that `write_rows` has not written yet; none in a group written whole.

        Args:
            group: its name; shard: only the rows of its blocks.

        Raises:
            SelfrepError: no such group.
        """
        arrays = self._arrays(group, "r")
        if DONE not in arrays:
            return np.empty(0, dtype=np.int64)
        left = np.flatnonzero(~np.asarray(arrays[DONE]))
        return left if shard is None else left[shard.mine(left // arrays[DONE].chunks[0])]

    def blocks(self, group: str, rows: np.ndarray) -> list[np.ndarray]:
        """These rows of a group that grows, in order, those that are stored together together.

        Example:
            >>> run = Groups(Path(tempfile.mkdtemp()))
            >>> run.create()
            >>> run.prepare("effects", xr.Dataset({"patched": ("pair", np.zeros(7))}), at_once=3)
            >>> [block.tolist() for block in run.blocks("effects", np.array([1, 2, 3, 6]))]
            [[1, 2], [3], [6]]
        """
        rows = np.sort(rows)
        numbers = rows // self._arrays(group, "r")[DONE].chunks[0]
        return np.split(rows, np.flatnonzero(np.diff(numbers)) + 1) if len(rows) else []

    def write_rows(self, group: str, indices: slice | Sequence[int] | np.ndarray, dataset: xr.Dataset) -> None:
        """Write the rows at these indices of a prepared group, then mark them done.

        Args:
            group: its name; indices: the numbers of its rows.
            dataset: those rows, in that order, with the variables that `prepare` left to fill; others are ignored.

        Several processes may write at once, each into other blocks (see `blocks`).

        Raises:
            SelfrepError: a missing variable, shapes that do not fit, a group written whole, a full disk.
        """
        with writing(self.store):
            arrays = self._arrays(group, "r+")
            if DONE not in arrays:
                raise SelfrepError(f"The group {group!r} in {self.store} was written whole; only `prepare`d ones grow.")
            done = arrays[DONE]
            rows = np.arange(done.shape[0])[indices]
            filled = cast(list[str], done.attrs[_FILLED])
            blocks = {name: _fitted(dataset, name, arrays[name], len(rows)) for name in filled}
            with zarr.config.set(WHOLE):
                for name, block in blocks.items():
                    arrays[name].oindex[rows] = block
                done.oindex[rows] = True

    # ---- how a group gets in and out --------------------------------------------------------------------------------

    def _require(self, group: str) -> None:
        if not self.has(group):
            raise SelfrepError(
                f"{self.store} has no group {group!r}. It holds: {', '.join(self.groups()) or 'nothing yet'}."
            )

    def _arrays(self, group: str, mode: Literal["r", "r+"]) -> dict[str, zarr.Array[Any]]:
        self._require(group)
        if mode == "r":
            seal.require_sound(self.store / group, group, chunks=False)
        return dict(zarr.open_group(self.store, path=group, mode=mode, use_consolidated=False).arrays())

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


def _fitted(dataset: xr.Dataset, name: str, array: Any, n_rows: int) -> np.ndarray:
    """`dataset[name]` as an array [row, ...] with the axes of the stored array, or a refusal."""
    dims, shape = array.metadata.dimension_names, (n_rows, *array.shape[1:])
    if name not in dataset:
        raise SelfrepError(
            f"These rows bring no {name!r}, which `prepare` left to fill. Bring it, or leave it out there."
        )
    values = dataset[name]
    if set(values.dims) != set(dims) or values.transpose(*dims).shape != shape:
        raise SelfrepError(
            f"{name!r} has {dict(values.sizes)}, but the store has room for {dict(zip(dims, shape, strict=True))}. "
            "Write the rows with the axes of `prepare`."
        )
    return values.transpose(*dims).to_numpy()
