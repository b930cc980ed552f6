"""How arrays lie in a store: in few files, and with texts that any Zarr library reads."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.errors import ZarrUserWarning

CHUNK = 2**24
"""Arrays are cut into chunks of at most about so many bytes. Each is a file, and is read as a whole."""
WHOLE = {"array.write_empty_chunks": True}
"""Of zarr: chunks of NaN, 0 or false alone are written, too, so that one that is not there was lost."""


def chunks(dataset: xr.Dataset) -> dict[str, tuple[int, ...]]:
    """The shape of the chunks of each variable that is no coordinate: all of it, halved until it is no larger than
    `CHUNK`.

    Example:
        >>> chunks(xr.Dataset({"factor": (("layer", "prompt", "basis"), np.zeros((3, 1000, 2000)))}))
        {'factor': (3, 500, 1000)}
    """
    return {str(name): _chunk(v) for name, v in dataset.data_vars.items() if v.size}


def _chunk(values: xr.DataArray) -> tuple[int, ...]:
    shape = list(values.shape)
    while np.prod(shape, dtype=float) * values.dtype.itemsize > CHUNK and max(shape) > 1:
        longest = shape.index(max(shape))
        shape[longest] = -(-shape[longest] // 2)
    return tuple(shape)


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """The same dataset as it is stored.

    Texts of variable length are the only string type that Zarr 3 specifies: others may not be readable elsewhere, or
    later.
    """
    return retyped(dataset.drop_encoding(), np.dtypes.StringDType())


def retyped(dataset: xr.Dataset, dtype: Any) -> xr.Dataset:
    """The same dataset with every text in `dtype`."""
    texts = {name: v for name, v in dataset.variables.items() if v.dtype.kind in "UTO"}
    # By way of objects, since numpy does not size its fixed-width texts from those of variable length.
    # In C order: the codec for texts of variable length writes the elements as they lie in memory.
    return dataset.assign(
        {name: (v.dims, v.to_numpy().astype(object, order="C").astype(dtype), v.attrs) for name, v in texts.items()}
    )


def in_order(dataset: xr.Dataset) -> xr.Dataset:
    """The same dataset, its variables by name: Zarr lists them in another order each time, and tables would show it."""
    variables, coords = (dict(sorted(part.variables.items())) for part in (dataset, dataset.coords))
    return xr.Dataset({k: v for k, v in variables.items() if k not in coords}, coords, dataset.attrs)


def measured(dataset: xr.Dataset, along: str) -> list[str]:
    """The variables that are filled in row by row: floating point, with the rows first.

    Example:
        >>> rows = {"odds": ("pair", [0.5]), "n": ("pair", [3]), "mean": ("layer", [0.5])}
        >>> measured(xr.Dataset(rows), "pair")
        ['odds']
    """
    return [str(name) for name, v in dataset.data_vars.items() if v.dims[:1] == (along,) and v.dtype.kind == "f"]


def consolidate(store: Path) -> None:
    """Gather all metadata at the root of a store.

    A courtesy to those who open it with plain `xarray.open_zarr`, which looks for them there and warns when there are
    none. Nothing in selfrep relies on them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)  # "not part of the specification": hence a courtesy
        zarr.consolidate_metadata(store)
