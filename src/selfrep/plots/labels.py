"""Names beside points without covering one another: each tries places around its point until all are settled."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Array = np.ndarray

_ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_RINGS = (6.0, 14.0, 24.0, 36.0, 50.0)
"""How far from its point the nearest edge of a name may stand (px)."""
_COVERS_NAME, _COVERS_POINT, _LEAVES, _PER_PX = 4.0, 0.6, 40.0, 1.0
"""Costs: of a px² of another name, a px² of a mark, a px outside, and a px away."""
_MARK = 9.0
_SWEEPS = 8


def spread(
    anchors: Float[Array, "label 2"],
    sizes: Float[Array, "label 2"],
    points: Float[Array, "point 2"],
    weights: Float[Array, " point"],
    area: tuple[float, float],
) -> Float[Array, "label 2"]:
    """Where to put the middle of each name, relative to its anchor (px).

    Args:
        anchors: what is named, from the lower left corner of the drawing area.
        sizes: width and height of each name.
        points, weights: marks that are better left uncovered, and how much better.
        area: width and height that names should stay in.
    """
    directions = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
    # The middle of a name whose edge is `ring` px away in each direction: [label, option, 2].
    extents = np.abs(directions) * sizes[:, None] / 2
    middles = anchors[:, None] + np.concatenate([directions * (ring + extents) for ring in _RINGS], axis=1)
    half = sizes[:, None] / 2
    outside = np.clip(half - middles, 0, None) + np.clip(middles + half - np.array(area), 0, None)
    covered = _overlap(middles, sizes[:, None, None], points, np.full(2, _MARK)) @ weights
    near = np.repeat(_RINGS, len(_ANGLES))
    cost = _COVERS_POINT * covered + _LEAVES * outside.sum(axis=2) + _PER_PX * near
    chosen, labels = cost.argmin(axis=1), np.arange(len(anchors))
    for _ in range(_SWEEPS):
        before = chosen.copy()
        for i in labels:
            others = np.delete(middles[labels, chosen], i, axis=0)
            clash = _overlap(middles[i], sizes[i], others, np.delete(sizes, i, axis=0)).sum(axis=1)
            chosen[i] = (cost[i] + _COVERS_NAME * clash).argmin()
        if (chosen == before).all():
            break
    return middles[labels, chosen] - anchors


def _overlap(
    middles: Array, size: Array, others: Float[Array, "other 2"], their: Array
) -> Float[Array, "*middle other"]:
    """Area (px²) that boxes of one size around `middles` [*middle, 2] share with the boxes around `others`."""
    apart = np.abs(middles[..., None, :] - others)
    return np.clip((size + their) / 2 - apart, 0, np.minimum(size, their)).prod(axis=-1)
