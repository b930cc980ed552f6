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
    options, cost = [], []
    for anchor, size in zip(anchors, sizes, strict=True):
        # The middle of a name whose edge is `ring` px away in each direction.
        reach = np.abs(directions) * size / 2
        offsets = np.concatenate([directions * (ring + reach) for ring in _RINGS])
        middles = anchor + offsets
        covered = _overlap(middles, size, points, np.array([_MARK, _MARK])) @ weights
        outside = np.clip(size / 2 - middles, 0, None) + np.clip(middles + size / 2 - np.array(area), 0, None)
        near = np.repeat(_RINGS, len(_ANGLES))
        options.append(middles)
        cost.append(_COVERS_POINT * covered + _LEAVES * outside.sum(axis=1) + _PER_PX * near)
    chosen = np.array([c.argmin() for c in cost], dtype=int)
    for _ in range(_SWEEPS):
        before = chosen.copy()
        for i in range(len(anchors)):
            others = np.array([options[j][chosen[j]] for j in range(len(anchors)) if j != i]).reshape(-1, 2)
            clash = _overlap(options[i], sizes[i], others, np.delete(sizes, i, axis=0)).sum(axis=1)
            chosen[i] = int((cost[i] + _COVERS_NAME * clash).argmin())
        if (chosen == before).all():
            break
    return np.array([options[i][chosen[i]] - anchors[i] for i in range(len(anchors))]).reshape(-1, 2)


def _overlap(
    middles: Float[Array, "a 2"], size: Float[Array, " 2"], others: Float[Array, "b 2"], their: Array
) -> Float[Array, "a b"]:
    """Area (px²) that boxes of one size around `middles` share with the boxes around `others`."""
    apart = np.abs(middles[:, None] - others[None])
    return np.clip((size + their) / 2 - apart, 0, np.minimum(size, their)).prod(axis=2)
