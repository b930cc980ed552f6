"""Activations a layer at a time, so that those that lie on disk are never in memory all at once.

Estimates say something of every cell (site, layer, place), and need all prompts of one cell together, but never all
cells. So they take activations from here, wherever these lie: in memory, or in a store that is read when used.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr
from jaxtyping import Float

Array = np.ndarray

WIDTH = "d_model"
"""The attribute that tells how wide the model is, of activations that are kept in fewer dimensions."""


def place_axis(acts: xr.Dataset) -> str:
    """The dimension of places: "position" or "segment"."""
    return "position" if "position" in acts.dims else "segment"


def cell_shape(acts: xr.Dataset) -> tuple[int, int, int]:
    """How many sites, layers and places there are."""
    return acts.sizes["site"], acts.sizes["layer"], acts.sizes[place_axis(acts)]


def width(acts: xr.Dataset) -> int:
    """How many dimensions the model's activations have, of which these may be in fewer (see `stats.isometry`).

    Example:
        >>> acts = xr.Dataset({"activations": (("prompt", "d_model"), np.zeros((3, 3)))})
        >>> width(acts), width(acts.assign_attrs(d_model=64))
        (3, 64)
    """
    return int(acts.attrs.get(WIDTH, acts.sizes["d_model"]))


def by_layer(acts: xr.Dataset) -> Iterator[tuple[tuple[int, int], Float[Array, "prompt place d"]]]:
    """The activations of one layer after another; read from disk only now where they lie there.

    Args:
        acts: `activations` (prompt, site, layer, position | segment, d_model).

    Yields:
        The indices of site and layer, and [prompt, place, d] what is there.

    Example:
        >>> x = np.arange(12.0).reshape(2, 1, 3, 1, 2)
        >>> acts = xr.Dataset({"activations": (("prompt", "site", "layer", "position", "d_model"), x)})
        >>> [(layer, float(here[0, 0, 0])) for (site, layer), here in by_layer(acts)]
        [(0, 0.0), (1, 2.0), (2, 4.0)]
    """
    sites, layers, _ = cell_shape(acts)
    for site, layer in np.ndindex(sites, layers):
        here = acts.activations.isel(site=site, layer=layer).compute()
        yield (site, layer), here.transpose("prompt", place_axis(acts), "d_model").to_numpy()
