"""One large array on disk, written block after block of its rows by a process that may be stopped, and read lazily.

It is a Zarr store with named dimensions, which xarray opens by itself. Everything but the numbers is there from the
start; a block is written first, and marked as done last. So whoever stops loses one block, and the same call goes on.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import filelock
import numpy as np
import xarray as xr
import zarr

from selfrep.errors import SelfrepError
from selfrep.files import writing
from selfrep.store.layout import CHUNK, WHOLE, consolidate, in_order, measured, retyped, storable

AT_ONCE = 2**28
"""A block takes at most about so many bytes of memory, or is a single row."""
DONE, ORIGIN = "done", "made_of"


class Large(NamedTuple):
    """The large array: its name, its axes, of which the first is that of the rows, their lengths, and its type."""

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def of_row(self) -> tuple[int, ...]:
        """The shape of a chunk, within a row: the last two axes."""
        last = self.shape[max(1, len(self.shape) - 2) :]
        return (*(1,) * (len(self.shape) - 1 - len(last)), *last)

    @property
    def rows(self) -> int:
        """How many rows are written at once: as many as a block and a chunk may take."""
        each = np.dtype(self.dtype).itemsize
        row, piece = (float(np.prod(shape, dtype=float)) * each for shape in (self.shape[1:], self.of_row))
        return int(max(1, min(self.shape[0], AT_ONCE // max(row, 1), CHUNK // max(piece, 1))))


class Streamed:
    """A Dataset on disk whose variables over its first dimension are filled block by block.

    Args:
        path: the folder of the store.

    Example:
        >>> store = Streamed(Path(tempfile.mkdtemp(), "acts.zarr"))
        >>> blank = xr.Dataset(coords={"prompt": ["a", "b", "c"], "layer": [0, 1]})
        >>> with store.filling(blank, Large("x", ("prompt", "layer", "d_model"), (3, 2, 4), "float32"), {"model": "m"}):
        ...     for rows in store.pending():
        ...         store.write(rows, {"x": np.ones((len(rows), 2, 4), np.float32)})
        >>> store.open().x.shape, float(store.open().x.sum())
        ((3, 2, 4), 24.0)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextmanager
    def filling(self, blank: xr.Dataset, large: Large, origin: Mapping[str, Any]) -> Iterator[None]:
        """Inside the `with` block this process alone fills the store, which is made where there is none.

        Args:
            blank: all that is known beforehand; its float variables over the first dimension are filled later.
            large: the array that is filled with them.
            origin: what the numbers are made of, as JSON: a store that was made of anything else is refused.

        Raises:
            SelfrepError: the path holds something else, or is being filled by another process; a full disk.
        """
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0, is_singleton=False)
        try:
            with writing(self.path):
                lock.acquire()
        except filelock.Timeout:
            raise SelfrepError(
                f"{self.path} is being filled by another process. Wait until it ends, or give another out=."
            ) from None
        try:
            if self.path.exists():
                self._require(origin)
            else:
                self._make(blank, large, origin)
            yield
        finally:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def _make(self, blank: xr.Dataset, large: Large, origin: Mapping[str, Any]) -> None:
        along, rows = large.dims[0], large.rows
        known = blank.assign({DONE: (along, np.zeros(large.shape[0], dtype=bool))})
        known = known.assign_attrs({ORIGIN: json.dumps(dict(origin), sort_keys=True)})
        encoding = {name: {"chunks": (rows, *known[name].shape[1:])} for name in (*measured(blank, along), DONE)}
        # Coordinates of rows belong to the large array, too: xarray finds them by name.
        named = [str(c) for c in blank.coords if c not in blank.dims and set(blank[c].dims) <= set(large.dims)]
        with writing(self.path), tempfile.TemporaryDirectory(prefix=".partial-", dir=self.path.parent) as scratch:
            new = Path(scratch, "new")
            with zarr.config.set(WHOLE):
                storable(known).to_zarr(new, zarr_format=3, consolidated=False, encoding=encoding)
            zarr.open_group(new, mode="a").create_array(
                large.name, shape=large.shape, dtype=large.dtype, fill_value=np.nan, dimension_names=large.dims,
                chunks=(rows, *large.of_row),
                attributes={"coordinates": " ".join(named)} if named else {},
            )  # fmt: skip
            consolidate(new)
            os.replace(new, self.path)

    def _require(self, origin: Mapping[str, Any]) -> None:
        known = self.origin()
        if differ := [key for key in sorted({*known, *origin}) if known.get(key) != origin.get(key)]:
            here = ", ".join(f"{key} {_short(known.get(key))}, now {_short(origin.get(key))}" for key in differ)
            raise SelfrepError(
                f"{self.path} holds activations of something else ({here}). Give another out=, or remove it."
            )

    def origin(self) -> dict[str, Any]:
        """What the numbers are made of.

        Raises:
            SelfrepError: it is no such store.
        """
        try:
            made_of = json.loads(str(self._group("r").attrs[ORIGIN]))
            if not isinstance(made_of, dict):
                raise TypeError(made_of)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise SelfrepError(
                f"{self.path} is there, and is no store of activations that selfrep began. Give another path."
            ) from error
        return made_of

    def pending(self) -> list[range]:
        """The blocks that are not there yet, as ranges of rows."""
        done = _array(self._group("r"), DONE)
        marks, rows = np.asarray(done[:]), done.chunks[0]
        blocks = [range(k, min(k + rows, len(marks))) for k in range(0, len(marks), rows)]
        return [block for block in blocks if not marks[block].all()]

    def write(self, rows: range, values: Mapping[str, np.ndarray]) -> None:
        """Write a block of `pending`, all of its variables, and mark it as done.

        Raises:
            SelfrepError: a full disk.
        """
        with writing(self.path), zarr.config.set(WHOLE):
            group = self._group("r+")
            for name, block in values.items():
                _array(group, name)[rows.start : rows.stop] = block
            _array(group, DONE)[rows.start : rows.stop] = True

    def open(self) -> xr.Dataset:
        """All of it; the numbers stay on disk, and what is asked of them is read anew each time.

        Raises:
            SelfrepError: some blocks are not there.
        """
        if left := sum(map(len, self.pending())):
            raise SelfrepError(f"{self.path} is not complete: {left} rows are missing. The call that began it goes on.")
        for name, array in self._group("r").arrays():
            if array.nchunks_initialized < array.nchunks:
                raise SelfrepError(
                    f"{self.path} has lost files of {name!r}: {array.nchunks - array.nchunks_initialized} of "
                    f"{array.nchunks} chunks are not there. Copy it again, or remove it and call once more."
                )
        stored = xr.open_dataset(self.path, engine="zarr", consolidated=False, chunks=None, cache=False)
        large = max(stored.data_vars, key=lambda v: stored[v].nbytes)
        rest = in_order(retyped(stored.drop_vars([large, DONE]).load(), np.dtype(str)))
        del rest.attrs[ORIGIN]
        return rest.assign({large: stored[large].variable}).drop_encoding()

    def _group(self, mode: Any) -> zarr.Group:
        return zarr.open_group(self.path, mode=mode, use_consolidated=False)


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    return cast("zarr.Array[Any]", group[name])


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
