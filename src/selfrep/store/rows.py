"""Groups that take long: allocated beforehand, filled row by row, by processes that may be killed at any moment.

`done` is false for every row (a pair, or a prompt) at first. The data of a row are written first and its `done` last,
so a process killed at any moment leaves no row that looks finished and is not. Rows that are stored together make a
block, which one process writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import xarray as xr
import zarr

from selfrep.errors import SelfrepError
from selfrep.files import writing
from selfrep.store import seal
from selfrep.store.groups import Groups
from selfrep.store.layout import WHOLE, measured, retyped
from selfrep.store.owner import changing
from selfrep.store.shard import Shard

Axis = Literal["pair", "prompt"]
"""What a group may grow along."""
DONE = "done"
_FILLED = "fills"  # the attribute of `done` that names the variables a row must bring before it counts as done


class Rows(Groups):
    """The groups of a store, some of which grow.

    Fields:
        path: the folder.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> run = Rows(Path(tempfile.mkdtemp()))
        >>> run.create()
        >>> run.prepare("effects/resid_pre", xr.Dataset({"patched": (("pair", "layer"), np.zeros((2, 3)))}))
        >>> run.write_rows("effects/resid_pre", [1], xr.Dataset({"patched": (("pair", "layer"), np.ones((1, 3)))}))
        >>> run.pending("effects/resid_pre").tolist()
        [0]
    """

    def grows(self, group: str) -> bool:
        """Whether the group is one that `write_rows` fills."""
        return (self.store / group / DONE / "zarr.json").is_file()

    @property
    def begun(self) -> bool:
        """Whether anything was measured: a row of a group that grows, or a group written whole."""
        marks = (self._arrays(group, "r").get(DONE) for group in self.groups())
        return any(done is None or bool(np.asarray(done).any()) for done in marks)

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
            >>> import tempfile
            >>> from pathlib import Path
            >>> run = Rows(Path(tempfile.mkdtemp()))
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

    def _arrays(self, group: str, mode: Literal["r", "r+"]) -> dict[str, zarr.Array[Any]]:
        self._require(group)
        if mode == "r":
            seal.require_sound(self.store / group, group, chunks=False)
        return dict(zarr.open_group(self.store, path=group, mode=mode, use_consolidated=False).arrays())


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
