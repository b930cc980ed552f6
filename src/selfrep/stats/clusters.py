"""Whether a map shows anything at all: cluster mass permutation over layer × position, within segments.

Neighbouring layers and positions rise and fall together, so a patch of cells counts, not a single cell. Cells beyond a
threshold are joined with their neighbours. The mass of a patch is the sum of its statistic, and it is compared with the
heaviest patch of every relabeling (Maris & Oostenveld 2007). A patch never crosses from one segment of the prompt into
the next. A small p says that the map is not chance. It does not say that the edges of the patch are where they seem.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from selfrep.errors import SelfrepError
from selfrep.stats.permutation import ALPHA, statistic, tolerance

Array = np.ndarray

_CHUNK = 2**22  # numbers labelled at once


class Clusters(NamedTuple):
    """The patches of a map, heaviest first.

    Attributes:
        label: [layer, position] the number of the patch a cell belongs to, from 1 on; 0 for none.
        mass: [cluster] the sum of the statistic in each patch, in units of its null's root mean square.
        p: [cluster] the share of labelings whose heaviest patch is as heavy.
        null_high: the 95th percentile of the heaviest patch.
    """

    label: Int[Array, "layer position"]
    mass: Float[Array, " cluster"]
    p: Float[Array, " cluster"]
    null_high: float


def cluster_mass(
    table: Float[Array, "layer position entry"],
    weights: Float[Array, "labeling entry"],
    segments: Sequence[str] | None = None,
    *,
    absolute: bool = False,
    quantile: float = 1 - ALPHA,
    scale: float | Float[Array, "*some"] | None = None,
) -> Clusters:
    """Find the patches of a map, and test each against the heaviest patch under the other labelings.

    The map is `table @ weights[0]`. Cells beyond a quantile of their own null are joined with their neighbours.

    Args:
        table: [layer, position, entry] what the statistic is linear in, at each cell, e.g. the means of personas (see
            `selfrep.stats.permutation`); NaN where there is no cell.
        weights: [labeling, entry] one row a labeling, that of the data first.
        segments: the segment of each position; a patch stays within one. None: all positions are in one.
        absolute: for signed statistics: patches of either sign, never joined with each other.
        quantile: of a cell's own null, beyond which it counts. Any fixed choice leaves the test exact.
        scale: the size of what the entries were subtracted from, where it is larger than they (see
            `selfrep.stats.permutation.tolerance`); patches whose masses differ by no more than its rounding tie.

    Returns:
        `Clusters`: `label`, `mass`, `p` and `null_high`.

    Raises:
        SelfrepError: too few labelings to reach p = .05; segments that do not match the positions.

    Source: Maris & Oostenveld 2007.

    Example:
        Eight personas, four a side, on a map of noise with a patch of 2 layers × 3 positions:

        >>> from selfrep.stats.permutation import labelings
        >>> first = np.arange(8) < 4
        >>> means = np.random.default_rng(0).normal(size=(6, 10, 8))
        >>> means[2:4, 3:6] += 5 * first
        >>> labels = labelings(first, 1000, np.random.default_rng(0))
        >>> patches = cluster_mass(means, np.where(labels, 1 / 4, -1 / 4), absolute=True)
        >>> round(float(patches.p[0]), 3), np.argwhere(patches.label == 1).tolist()
        (0.029, [[2, 3], [2, 4], [2, 5], [3, 3], [3, 4], [3, 5]])
    """
    n_places = table.shape[1]
    if 1 / len(weights) > ALPHA:
        raise SelfrepError(
            f"A cluster is tested against relabelings, and {len(weights)} give no smaller p than "
            f"{1 / len(weights):.3g}. Add personas: 4 against 4 have 35 labelings."
        )
    if segments is not None and len(segments) != n_places:
        raise SelfrepError(f"Each position has one segment; got {len(segments)} for {n_places} positions.")
    table_or_0 = np.nan_to_num(table)
    slack = tolerance(table_or_0, weights, scale)
    null = np.moveaxis(statistic(table_or_0, weights, slack), -1, 0)  # [labeling, layer, position]
    known = np.isfinite(table).all(axis=-1)
    spread = np.sqrt((null**2).mean(axis=0))
    used = (spread > 0) & known
    null = np.divide(null, spread, out=np.zeros_like(null), where=used)
    slack = np.divide(slack, spread, out=np.zeros_like(slack), where=used)
    signs = np.stack([null, -null], axis=1) if absolute else null[:, None]  # [labeling, sign, layer, position]
    bar = np.quantile(np.abs(null) if absolute else null, quantile, axis=0)
    beyond = (signs > np.maximum(bar, 0.0) + slack) & known
    spaced, columns = _spaced(beyond, segments), _columns(segments, n_places)
    heaviest, at_most = np.zeros(len(weights)), np.zeros(len(weights))  # at_most: were all rounding in its favour
    per = max(1, _CHUNK // max(1, spaced[0].size))
    for start in range(0, len(weights), per):
        label, n = ndimage.label(spaced[start : start + per], structure=_NEIGHBOURS)
        if n:
            label_at, numbers, here = label[..., columns], np.arange(1, n + 1), signs[start : start + per]
            mass = ndimage.sum_labels(here, label_at, numbers)
            upper = ndimage.sum_labels(here + slack, label_at, numbers)
            where = ndimage.maximum_position(label > 0, label, np.arange(1, n + 1))
            labeling = start + np.array([at[0] for at in where])
            np.maximum.at(heaviest, labeling, mass)
            np.maximum.at(at_most, labeling, upper)
    label, n = ndimage.label(spaced[:1], structure=_NEIGHBOURS)
    label = label[0][..., columns]  # [sign, layer, position]
    mass, at_least = (
        ndimage.sum_labels(x, label, np.arange(1, n + 1)) if n else np.zeros(0) for x in (signs[0], signs[0] - slack)
    )
    order = np.argsort(-mass, kind="stable")
    rank = np.zeros(n + 1, dtype=int)
    rank[order + 1] = np.arange(1, n + 1)
    mass = mass[order]
    p = (at_most[None] >= at_least[order, None]).mean(axis=1)
    return Clusters(rank[label].max(axis=0), mass, p, float(np.quantile(heaviest, 1 - ALPHA)))


# Cells touch along layer and position, never from one labeling or one sign to another.
_NEIGHBOURS = np.zeros((3, 3, 3, 3), dtype=bool)
_NEIGHBOURS[1, 1, 1, :] = _NEIGHBOURS[1, 1, :, 1] = True


def _columns(segments: Sequence[str] | None, n: int) -> Int[Array, " position"]:
    """Where each position lies once an empty column stands between segments."""
    if segments is None:
        return np.arange(n)
    steps = [int(i > 0 and segments[i] != segments[i - 1]) for i in range(n)]
    return np.arange(n) + np.cumsum(steps)


def _spaced(beyond: Array, segments: Sequence[str] | None) -> Array:
    columns = _columns(segments, beyond.shape[-1])
    out = np.zeros((*beyond.shape[:-1], int(columns[-1]) + 1), dtype=bool)
    out[..., columns] = beyond
    return out
