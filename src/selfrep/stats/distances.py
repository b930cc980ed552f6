"""Squared distances between groups of rows without the luck of single rows, from the products between rows alone.

The squared distance of two means is too large by the noise of both. Products of *different* rows have no such bias, and
where rows share something that has nothing to do with their group (the sentence around a description), neither have
products of rows that do not share it. So each of the three products in |a − b|² = a·a + b·b − 2 a·b is the mean over
pairs of rows that share nothing; it may come out negative where the groups do not differ.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import solve_triangular

from selfrep.stats.rounding import negligible

Array = np.ndarray


def crossed_distances(
    gram: Float[Array, "row row"], groups: Float[Array, "group row"], apart: Bool[Array, "row row"]
) -> Float[Array, "group group"]:
    """The squared distance between the means of every two groups, from products of rows that share nothing.

    Args:
        gram: [row, row] the products between rows.
        groups: [group, row] the weight of each row in its group; groups may share rows.
        apart: [row, row] whether two rows share nothing; never a row with itself.

    Returns:
        [group, group] in the unit of the products, 0 on the diagonal; NaN where no pair of rows is left. Without bias,
        so it may be negative.

    Source: cross-validated squared distance (Walther et al. 2016).

    Example:
        Two groups of two rows, their means √2 apart:

        >>> rows = np.array([[1.0, 0.1], [1.0, -0.1], [0.0, 1.1], [0.0, 0.9]])
        >>> groups = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
        >>> crossed_distances(rows @ rows.T, groups, ~np.eye(4, dtype=bool)).round(2)
        array([[0.  , 1.98],
               [1.98, 0.  ]])
    """
    pairs = groups @ apart @ groups.T
    sums = groups @ (gram * apart) @ groups.T
    means = np.divide(sums, pairs, out=np.full_like(sums, np.nan), where=~negligible(pairs, 1.0))
    alone = np.diag(means)
    out = alone[:, None] + alone - 2 * means
    np.fill_diagonal(out, np.where(np.isfinite(alone), 0.0, np.nan))
    return out


def noise_factor(
    across: Float[Array, "noise row"], among: Float[Array, "noise noise"], d: int, scale: float
) -> tuple[Float[Array, "noise row"], float]:
    """Products in the metric of noise, from plain products alone: they are (products − factorᵀ factor) / size.

    It is the metric of `selfrep.stats.geometry.noise_normalised`, for which the activations themselves are needed.

    Args:
        across: [noise, row] products of independent rows of pure noise with rows.
        among: [noise, noise] their products with one another.
        d: how many dimensions rows have.
        scale: the mean squared length of rows, beside which noise may be rounding.

    Returns:
        [noise, row] the factor; the size. Without any noise, a factor of 0 and a size of 1: products stay.

    Source: multivariate noise normalisation (Walther et al. 2016); shrinkage (Ledoit & Wolf 2004); the inverse of the
    covariance by Woodbury's identity.

    Example:
        Noise along the first of two dimensions; a row along it becomes shorter than one across it:

        >>> noise, rows = np.array([[3.0, 0.1], [-2.0, 0.1]]), np.eye(2)
        >>> factor, size = noise_factor(noise @ rows.T, noise @ noise.T, d=2, scale=1.0)
        >>> along, beside = np.diag(rows @ rows.T - factor.T @ factor) / size
        >>> bool(along < beside)
        True
    """
    n = len(among)
    variance = float(np.trace(among)) / (n * d) if n else 0.0
    if negligible(variance, scale / d, degree=2):
        return np.zeros_like(across), 1.0
    share = max(shrinkage(among, d), 1e-6)
    size, weight = share * variance, (1 - share) / n
    lower = np.linalg.cholesky(weight * among + size * np.eye(n))
    return np.sqrt(weight) * solve_triangular(lower, across, lower=True, check_finite=False), size


def shrinkage(among: Float[Array, "noise noise"], d: int) -> float:
    """How far a covariance is shrunk towards a multiple of the identity, from the products between rows of noise.

    Args:
        among: [noise, noise] the products between independent rows around 0.
        d: how many dimensions rows have.

    Returns:
        The share of the multiple of the identity, 0 … 1.

    Source: Ledoit & Wolf 2004.

    Example:
        Two of a hundred directions are loud, which ten rows do not tell as a thousand do:

        >>> noise = np.random.default_rng(0).normal(size=(1000, 100)) * np.repeat([9.0, 1.0], [2, 98])
        >>> round(shrinkage(noise[:10] @ noise[:10].T, 100), 2), round(shrinkage(noise @ noise.T, 100), 2)
        (0.36, 0.01)
    """
    n, squares = len(among), np.diag(among)
    variance = float(squares.sum()) / (n * d)
    together = float((among**2).sum()) / n**2
    error = (float((squares**2).sum()) / n - together) / n
    spread = together - d * variance**2
    return min(error / spread, 1.0) if spread > error * 1e-12 else 1.0
