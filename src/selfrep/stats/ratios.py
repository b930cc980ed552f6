"""Ratios of effects, whose denominators are measured too: intervals that take this into account.

Dividing by an estimate is safe while the estimate is far from 0. Near 0 the ratio has no mean, its bootstrap
percentiles say nothing, and only Fieller's theorem still holds. Nearer still, no bounds exist at all, and the honest
answer is that the ratio is not identified.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats as scipy_stats

from selfrep.stats import resampling
from selfrep.stats.resampling import ALPHA
from selfrep.stats.rounding import negligible

Array = np.ndarray

NEAR_ZERO = 3.0
"""Within this many standard errors of 0, a denominator calls for Fieller's bounds."""


def fieller(
    numerator: float, denominator: float, covariance: Float[Array, "2 2"], df: float | int
) -> tuple[float, float] | None:
    """95 % bounds of numerator / denominator, or None where they are unbounded: the denominator may be 0.

    The bounds solve (a − r b)² = t² (Vaa − 2 r Vab + r² Vbb) for r.

    Args:
        numerator, denominator: the two estimates, in the same unit.
        covariance: [2, 2] of (numerator, denominator).
        df: degrees of freedom of Student's t.

    Returns:
        (low, high), or None.

    Source: Fieller 1954.

    Example:
        >>> low, high = fieller(2.0, 4.0, np.diag([0.01, 0.01]), df=20)
        >>> round(low, 2), round(high, 2)
        (0.44, 0.56)
        >>> fieller(2.0, 0.1, np.diag([0.01, 0.01]), df=20) is None
        True
    """
    t2 = scipy_stats.t.ppf(1 - ALPHA / 2, df) ** 2
    (vaa, vab), (_, vbb) = covariance
    a, b, c = denominator**2 - t2 * vbb, numerator * denominator - t2 * vab, numerator**2 - t2 * vaa
    if a <= 0 or negligible(a, denominator**2):
        return None
    root = max(0.0, b**2 - a * c)  # the ratio itself solves the inequality, so less than 0 is rounding
    return float((b - np.sqrt(root)) / a), float((b + np.sqrt(root)) / a)


def joint_interval(
    numerator: float,
    denominator: float,
    draws: Float[Array, "2 draw"],
    n_units: int,
    df: float | int,
    *,
    covariance: Float[Array, "2 2"] | None = None,
) -> tuple[float, float] | None:
    """95 % bounds of numerator / denominator, both resampled together; None where there are none.

    Expanded percentiles of the resampled ratio where the denominator is far from 0. Fieller's theorem where it is
    within 3 standard errors of it.

    Args:
        numerator, denominator: the two estimates, in the same unit.
        draws: [2, draw] the bootstrap draws of (numerator, denominator).
        n_units: of the smallest group that was resampled.
        df: of the units in all (see `selfrep.stats.resampling.tail`).
        covariance: [2, 2] of (numerator, denominator). None: that of the draws, corrected for resampling n units.

    Returns:
        (low, high), or None.

    Source: Fieller 1954; Hesterberg 2015.

    Example:
        >>> draws = np.array([[2.0], [4.0]]) + 0.1 * np.random.default_rng(0).normal(size=(2, 2000))
        >>> low, high = joint_interval(2.0, 4.0, draws, n_units=20, df=19)
        >>> low < 0.5 < high
        True
    """
    if covariance is None:
        covariance = np.cov(draws) * n_units / (n_units - 1)
    if abs(denominator) <= NEAR_ZERO * np.sqrt(covariance[1, 1]):
        return fieller(numerator, denominator, covariance, df)
    whole = np.where(negligible(draws[1], denominator), np.nan, draws[1])  # a draw may hit 0: there is no interval then
    low, high = resampling.interval(draws[0] / whole, resampling.tail(n_units, df))
    return None if np.isnan(low) else (float(low), float(high))


def ratio_interval(
    numerator: Float[Array, unit * cells], denominator: Float[Array, " unit"]
) -> tuple[Float[Array, "*cells"], Float[Array, "*cells"]]:
    """95 % bounds of sum(numerator) / sum(denominator) over at least two units, for denominators far from 0.

    Student's t on the residuals numerator − ratio × denominator.

    Args:
        numerator: [unit, ...].
        denominator: [unit], of one sign.

    Returns:
        (low, high), each [...].

    Source: the linearised ratio (Cochran 1977, chapter 6).

    Example:
        >>> ratio_interval(np.array([[1.0], [2.0], [3.0]]), np.array([2.0, 4.0, 6.0]))  # all units have the same ratio
        (array([0.5]), array([0.5]))
    """
    n = len(denominator)
    ratio = numerator.sum(axis=0) / denominator.sum()
    residual = numerator - ratio * denominator.reshape(-1, *[1] * ratio.ndim)
    error = np.sqrt(n / (n - 1) * (residual**2).sum(axis=0)) / denominator.sum()
    half = scipy_stats.t.ppf(1 - ALPHA / 2, n - 1) * error
    return ratio - half, ratio + half
