"""The onset of a divergence: the depth from which it stays at or above half of its final value."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from selfrep.stats import resampling

Array = np.ndarray


def stays_above_half(curve: Float[Array, layer * draw]) -> Bool[Array, layer * draw]:
    """Whether a curve is at or above half of its final value, at each layer and all that follow.

    Args:
        curve: [layer, ...] from the bottom up. A final value that is not above 0 has no half: true of the last layer.

    Example:
        >>> stays_above_half(np.array([0.0, 0.6, 0.4, 0.5, 1.0]))
        array([False, False, False,  True,  True])
    """
    above = (curve >= curve[-1] / 2) & (curve[-1] > 0)
    above[-1] = True
    return np.logical_and.accumulate(above[::-1], axis=0)[::-1]


def crossings(curve: Float[Array, layer * draw]) -> Int[Array, "*draw"]:
    """How often a curve rises to half of its final value, from below it or from the start.

    Example:
        >>> int(crossings(np.array([0.0, 0.6, 0.4, 0.5, 1.0])))
        2
    """
    above = (curve >= curve[-1] / 2) & (curve[-1] > 0)
    return np.asarray(above[0] + (above[1:] & ~above[:-1]).sum(axis=0))


def onset(
    depth: Float[Array, " layer"], curve: Float[Array, "layer draw"], n_units: int
) -> tuple[dict[str, float], str]:
    """The onset of one curve, with its interval, or why there is none.

    Args:
        depth: [layer] 0 … 1.
        curve: [layer, draw] the data first, then bootstrap draws.
        n_units: that were drawn; 0 for too few.

    Returns:
        `onset`, `onset_ci_low`, `onset_ci_high`, `onset_crossings` (the share of draws with several); the reason.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> curve = np.array([0.0, 0.1, 0.9, 1.0])[:, None] + rng.normal(scale=0.01, size=(4, 200))
        >>> round(onset(np.linspace(0, 1, 4), curve, 8)[0]["onset_ci_low"], 2)
        0.67
    """
    if len(depth) < 2:
        return {}, "an onset needs several layers"
    if not np.isfinite(curve).all():
        return {}, "it is not measured at every layer"
    if not n_units:
        return {}, "its final value has no interval"
    low, _ = resampling.spread_interval(curve[-1:, 0], curve[-1:, 1:], n_units)
    if not low[0] > 0:
        return {}, "the interval of its final value includes 0"
    at = depth[stays_above_half(curve).argmax(axis=0)]
    lowest, highest = resampling.interval(at[1:], resampling.tail(n_units, n_units - 1))
    return {
        "onset": float(at[0]),
        "onset_ci_low": min(float(lowest), float(at[0])),
        "onset_ci_high": max(float(highest), float(at[0])),
        "onset_crossings": float((crossings(curve[:, 1:]) > 1).mean()),
    }, ""
