"""Groups of arrays in a Zarr store: written all at once, or row by row by a run that may be killed at any moment.

Two rules keep a store whole. A group appears all at once: it is written beside the store and moved in. A group that
takes long is allocated beforehand with `done` false for every row (a pair, or a prompt). The data of a row are written
first and its `done` last, so a process killed at any moment leaves no row that looks finished and is not.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import xarray as xr
import zarr
from zarr.errors import ZarrUserWarning

from selfrep.errors import SelfrepError
from selfrep.files import writing

Axis = Literal["pair", "prompt"]
"""What a group may grow along."""
DONE = "done"
_FILLED = "fills"  # the attribute of `done` that names the variables a row must bring before it counts as done
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
        self._consolidate()

    # ---- whole groups -----------------------------------------------------------------------------------------------

    def groups(self) -> tuple[str, ...]:
        """The names of the groups that hold arrays, e.g. "effects/resid_pre", sorted."""
        if not self.store.is_dir():
            return ()
        root = zarr.open_group(self.store, mode="r", use_consolidated=False)
        arrays = (name for name, node in root.members(max_depth=None) if isinstance(node, zarr.Array))
        return tuple(sorted({name.rpartition("/")[0] for name in arrays if "/" in name}))

    def has(self, group: str) -> bool:
        """Whether the group is there (finished or not: see `pending`)."""
        return (self.store / group / "zarr.json").is_file()

    def grows(self, group: str) -> bool:
        """Whether the group is one that `write_rows` fills."""
        return (self.store / group / DONE / "zarr.json").is_file()

    def read(self, group: str) -> xr.Dataset:
        """The group as a Dataset in memory, its texts as numpy strings, its variables sorted by name.

        Raises:
            SelfrepError: no such group; the message lists those that exist.
        """
        self._require(group)
        with xr.open_zarr(self.store, group=group, consolidated=False, chunks=None) as stored:
            return _in_order(_retype(stored.load(), np.dtype(str))).drop_encoding()

    def attributes(self, group: str) -> dict[str, Any]:
        """The attributes of the group, without reading any of its arrays.

        Raises:
            SelfrepError: no such group; the message lists those that exist.
        """
        self._require(group)
        return dict(zarr.open_group(self.store, path=group, mode="r", use_consolidated=False).attrs)

    def write(self, group: str, dataset: xr.Dataset) -> None:
        """Write the group, or replace it, all at once.

        Raises:
            SelfrepError: a full disk, or a store that may not be written.
        """
        self._install(group, dataset, {})

    def annotate(self, group: str, **attributes: Any) -> None:
        """Add attributes to a group, or replace them: those that are known only once its rows have been computed.

        Raises:
            SelfrepError: no such group, or a store that may not be written.
        """
        self._require(group)
        with writing(self.store):
            zarr.open_group(self.store, path=group, mode="r+", use_consolidated=False).update_attributes(attributes)
            self._consolidate()

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
        filled = _measured(template, along)
        blank = template.assign({name: xr.full_like(template[name], np.nan) for name in filled})
        blank[DONE] = (along, np.zeros(template.sizes[along], dtype=bool), {_FILLED: filled})
        if not self.has(group):
            self._install(group, blank, {name: (at_once, *blank[name].shape[1:]) for name in (*filled, DONE)})
            return
        stored, wanted = self.read(group), _retype(blank, np.dtype(str))
        fixed = [name for name in wanted.variables if name not in (*filled, DONE)]
        same = set(stored.variables) == set(wanted.variables) and stored.sizes == wanted.sizes
        if not (same and all(stored[name].variable.equals(wanted[name].variable) for name in fixed)):
            raise SelfrepError(
                f"The group {group!r} in {self.store} was begun with other prompts, layers or positions than now, "
                "though the study is the same: the program has changed in between. Choose another "
                "directory with --out, or remove this one."
            )

    def pending(self, group: str) -> np.ndarray:
        """Indices [k] (int64) of the rows that `write_rows` has not written yet; none in a group written whole.

        Raises:
            SelfrepError: no such group.
        """
        arrays = self._arrays(group, "r")
        return np.flatnonzero(~np.asarray(arrays[DONE])) if DONE in arrays else np.empty(0, dtype=np.int64)

    def write_rows(self, group: str, indices: slice | Sequence[int] | np.ndarray, dataset: xr.Dataset) -> None:
        """Write the rows at these indices of a prepared group, then mark them done.

        Args:
            group: its name; indices: the numbers of its rows.
            dataset: those rows, in that order, with the variables that `prepare` left to fill; others are ignored.

        Two processes may write different rows at once where rows are stored one by one.

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
        return dict(zarr.open_group(self.store, path=group, mode=mode, use_consolidated=False).arrays())

    def _install(self, group: str, dataset: xr.Dataset, chunks: dict[str, tuple[int, ...]]) -> None:
        target = self.store / group
        with writing(self.store):
            self.store.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.store.parent))
            try:
                # Texts of variable length are the only string type that Zarr 3 specifies: others may not be readable
                # elsewhere, or later.
                _retype(dataset.drop_encoding(), np.dtypes.StringDType()).to_zarr(
                    scratch / "new", zarr_format=3, consolidated=False,
                    encoding={name: {"chunks": shape} for name, shape in chunks.items()},
                )  # fmt: skip
                root = zarr.open_group(self.store, mode="a", zarr_format=3)
                if parent := group.rpartition("/")[0]:
                    root.require_group(parent)
                if target.exists():
                    os.replace(target, scratch / "old")
                os.replace(scratch / "new", target)
                self._consolidate()
            finally:
                _remove(scratch)

    def _consolidate(self) -> None:
        # A courtesy to those who open the store with plain `xarray.open_zarr(path, group=...)`, which looks for
        # consolidated metadata at the root and warns when there are none. Nothing in selfrep relies on them.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ZarrUserWarning)  # "not part of the specification": hence a courtesy
            zarr.consolidate_metadata(self.store)


def _remove(scratch: Path) -> None:
    """Remove a folder; when a write has failed, threads of zarr may still be at work in it for a moment."""
    for _ in range(20):
        shutil.rmtree(scratch, ignore_errors=True)
        if not scratch.exists():
            return
        time.sleep(0.05)


def _measured(dataset: xr.Dataset, along: Axis) -> list[str]:
    """The variables that a run fills in: floating point, with the rows first."""
    return [str(name) for name, v in dataset.data_vars.items() if v.dims[:1] == (along,) and v.dtype.kind == "f"]


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


def _retype(dataset: xr.Dataset, dtype: Any) -> xr.Dataset:
    """The same dataset with every text in `dtype`."""
    texts = {name: v for name, v in dataset.variables.items() if v.dtype.kind in "UTO"}
    # By way of objects, since numpy does not size its fixed-width texts from those of variable length.
    # In C order: the codec for texts of variable length writes the elements as they lie in memory.
    return dataset.assign(
        {name: (v.dims, v.to_numpy().astype(object, order="C").astype(dtype), v.attrs) for name, v in texts.items()}
    )


def _in_order(dataset: xr.Dataset) -> xr.Dataset:
    """The same dataset, its variables by name: Zarr lists them in another order each time, and tables would show it."""
    variables, coords = (dict(sorted(part.variables.items())) for part in (dataset, dataset.coords))
    return xr.Dataset({k: v for k, v in variables.items() if k not in coords}, coords, dataset.attrs)
