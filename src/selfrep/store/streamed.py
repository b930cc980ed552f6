"""One large array on disk, written block after block of its rows by a process that may be stopped, and read lazily.

It is a Zarr store with named dimensions, which xarray opens by itself. Everything but the numbers is there from the
start; a block is written first, and marked as done last. So whoever stops loses one block, and the same call goes on.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import filelock
import numpy as np
import xarray as xr
import zarr
from zarr.errors import ZarrUserWarning

from selfrep.errors import SelfrepError
from selfrep.files import writing
from selfrep.store.layout import CHUNK, in_order, retyped, storable

AT_ONCE = 2**28
"""A block takes at most about so many bytes of memory, or is a single row."""
DONE, ORIGIN, SPACE = "done", "made_of", "zarr.json"


class Streamed:
    """A Dataset on disk whose variables over its first dimension are filled block by block.

    Args:
        path: the folder of the store.

    Example:
        >>> store = Streamed(Path(tempfile.mkdtemp(), "acts.zarr"))
        >>> blank = xr.Dataset(coords={"prompt": ["a", "b", "c"], "layer": [0, 1]})
        >>> with store.filling(blank, "x", ("prompt", "layer", "d_model"), (3, 2, 4), "float32", {"model": "m"}):
        ...     for rows in store.pending():
        ...         store.write(rows, {"x": np.ones((len(rows), 2, 4), np.float32)})
        >>> store.open().x.shape, float(store.open().x.sum())
        ((3, 2, 4), 24.0)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextmanager
    def filling(
        self,
        blank: xr.Dataset,
        name: str,
        dims: Sequence[str],
        shape: Sequence[int],
        dtype: str,
        origin: Mapping[str, Any],
    ) -> Iterator[None]:
        """Inside the `with` block this process alone fills the store, which is made where there is none.

        Args:
            blank: all that is known beforehand; its float variables over the first dimension are filled later.
            name, dims, shape, dtype: of the large array; its first dimension is that of the rows.
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
                self._make(blank, name, dims, shape, dtype, origin)
            yield
        finally:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def _make(
        self,
        blank: xr.Dataset,
        name: str,
        dims: Sequence[str],
        shape: Sequence[int],
        dtype: str,
        origin: Mapping[str, Any],
    ) -> None:
        rows = _rows_of(shape, np.dtype(dtype).itemsize)
        known = blank.assign({DONE: (dims[0], np.zeros(shape[0], dtype=bool))})
        known = known.assign_attrs({ORIGIN: json.dumps(dict(origin), sort_keys=True)})
        over_rows = [*_filled(blank, dims[0]), DONE]
        encoding = {str(v): {"chunks": (rows, *known[v].shape[1:])} for v in over_rows}
        # Coordinates of rows belong to the large array, too: xarray finds them by name.
        named = [str(c) for c in blank.coords if c not in blank.dims and set(blank[c].dims) <= set(dims)]
        with writing(self.path), tempfile.TemporaryDirectory(prefix=".partial-", dir=self.path.parent) as scratch:
            new = Path(scratch, "new")
            with zarr.config.set({"array.write_empty_chunks": True}):
                storable(known).to_zarr(new, zarr_format=3, consolidated=False, encoding=encoding)
            zarr.open_group(new, mode="a").create_array(
                name, shape=tuple(shape), dtype=dtype, fill_value=np.nan, dimension_names=list(dims),
                chunks=(rows, *(1,) * (len(shape) - 3), *shape[-2:]) if len(shape) > 2 else (rows, *shape[1:]),
                attributes={"coordinates": " ".join(named)} if named else {},
            )  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ZarrUserWarning)  # see `selfrep.store.groups`
                zarr.consolidate_metadata(new)
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
        done = self._array(DONE)
        marks, rows = np.asarray(done[:]), done.chunks[0]
        blocks = [range(k, min(k + rows, len(marks))) for k in range(0, len(marks), rows)]
        return [block for block in blocks if not marks[block].all()]

    def write(self, rows: range, values: Mapping[str, np.ndarray]) -> None:
        """Write a block of `pending`, all of its variables, and mark it as done.

        Raises:
            SelfrepError: a full disk.
        """
        # Blocks of NaN alone are written, too: a chunk that is not there was lost.
        with writing(self.path), zarr.config.set({"array.write_empty_chunks": True}):
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

    def _array(self, name: str) -> zarr.Array[Any]:
        return _array(self._group("r"), name)


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    return cast("zarr.Array[Any]", group[name])


def _filled(blank: xr.Dataset, along: str) -> list[str]:
    return [str(name) for name, v in blank.data_vars.items() if v.dims[:1] == (along,) and v.dtype.kind == "f"]


def _rows_of(shape: Sequence[int], itemsize: int) -> int:
    """How many rows are written at once: as many as a block may take, and a chunk of a single layer."""
    row = float(np.prod(shape[1:], dtype=float)) * itemsize
    layer = float(np.prod(shape[-2:] if len(shape) > 2 else shape[1:], dtype=float)) * itemsize
    return int(max(1, min(shape[0], AT_ONCE // max(row, 1), CHUNK // max(layer, 1))))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}…"
