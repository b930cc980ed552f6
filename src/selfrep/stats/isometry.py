"""Activations as small as what is made of them: kept up to a rotation, which no distance, length or angle can tell.

All that is said of activations, but for the scale of single dimensions, follows from the inner products between
prompts. Those are kept, and not as their table, whose rounding would drown small distances between long vectors, but as
its triangular factor: each prompt in a basis in which the first lies along the first dimension, the second in the plane
of the first two, and so on. n prompts then take n²/2 numbers at every cell, however wide the model is. An estimate
takes them as they are: what it needs to know of the width is in an attribute (see `selfrep.stats.cells.width`).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.stats.cells import WIDTH, width

Array = np.ndarray

FACTOR = "factor"


def compact(acts: xr.Dataset) -> xr.Dataset:
    """Activations up to a rotation, cell by cell.

    Args:
        acts: `activations` (prompt, site, layer, position | segment, d_model), on one scale already where that is
            wanted (`selfrep.stats.geometry.standardised`): single dimensions are lost.

    Returns:
        The same Dataset with `factor` (prompt, site, layer, position | segment, basis) float32 in place of
        `activations`: factor · factorᵀ are the inner products of prompts at a cell. NaN where a prompt has no such
        place. The attribute `d_model` keeps how wide activations were.

    Source: LQ decomposition (Golub & Van Loan 2013, §5.2).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(3, 1, 1, 1, 64))
        >>> kept = compact(xr.Dataset({"activations": (("prompt", "site", "layer", "position", "d_model"), x)}))
        >>> kept.factor.shape, np.triu(kept.factor.squeeze(), 1).any()
        ((3, 1, 1, 1, 3), np.False_)
    """
    x = acts.activations.to_numpy()
    basis = min(x.shape[0], x.shape[-1])
    factor = np.full((*x.shape[:-1], basis), np.nan, dtype=np.float32)
    for cell in np.ndindex(x.shape[1:-1]):
        here = x[:, *cell].astype(np.float64)
        there = np.isfinite(here).all(axis=1)
        if there.any():
            factor[there, *cell] = _triangular(here[there], basis)
    named = (*acts.activations.dims[:-1], "basis")
    return acts.drop_vars("activations").assign({FACTOR: (named, factor)}).assign_attrs({WIDTH: width(acts)})


def expanded(kept: xr.Dataset) -> xr.Dataset:
    """Activations again, in a basis of no more dimensions than there are prompts.

    Args:
        kept: from `compact`. What lies on disk stays there (`selfrep.stats.cells.by_layer` reads it).

    Returns:
        The Dataset that `compact` was given, its activations rotated, and without the dimensions in which all are 0:
        float32, NaN where a prompt has no such place.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(3, 1, 1, 1, 64))
        >>> acts = xr.Dataset({"activations": (("prompt", "site", "layer", "position", "d_model"), x)})
        >>> again = expanded(compact(acts))
        >>> a, b = (one.activations.values.squeeze() for one in (acts, again))
        >>> b.shape, width(again), bool(abs(a @ a.T - b @ b.T).max() < 1e-4)
        ((3, 3), 64, True)
    """
    return kept.rename({FACTOR: "activations", "basis": "d_model"})


def _triangular(x: Float[Array, "row d"], basis: int) -> Float[Array, "row basis"]:
    """Rows in a basis in which each needs one dimension more than the one before, the new one being positive."""
    upper: Array = np.asarray(np.linalg.qr(x.T, mode="r"))
    lower = upper.T * np.where(np.diag(upper) < 0, -1.0, 1.0)
    return np.pad(lower, ((0, 0), (0, basis - lower.shape[1])))
