"""How alike two representations are, whatever their axes: CKA, Procrustes, principal angles, on plain arrays.

They compare the same rows (e.g. prompts, in the same order) at two layers, sites or models. With fewer rows than
dimensions any two clouds look alike to the plain measures. So CKA is computed with unbiased estimates, which are 0 on
average for unrelated representations, and may be negative.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import linalg

from selfrep.errors import SelfrepError
from selfrep.stats.rounding import negligible

Array = np.ndarray


def cka(x: Float[Array, "row d1"], y: Float[Array, "row2 d2"]) -> float:
    """Debiased linear CKA of two representations of the same rows: 1 where they agree up to rotation and scale.

    0 on average for unrelated ones, and then negative as often as not.

    Args:
        x: [row, d1], at least four rows (e.g. prompts).
        y: [row, d2], the same rows in the same order.

    Returns:
        A number of at most 1.

    Raises:
        SelfrepError: fewer than four rows; unequal numbers of rows; a representation that does not vary.

    Source: unbiased HSIC (Song et al. 2012); CKA (Kornblith et al. 2019); debiased (Murphy et al. 2024).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(20, 3))
        >>> rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        >>> round(cka(x, 5 * x @ rotation), 6), cka(x, rng.normal(size=(20, 3))) < 0.3
        (1.0, True)
    """
    _same_rows(x, y, 4)
    k, m = (_hollow(z) for z in (x, y))
    own = [_hsic(z, z) for z in (k, m)]  # never below 0 but for rounding
    if any(negligible(size, (z**2).sum(), degree=2) for size, z in zip(own, (k, m), strict=True)):
        raise SelfrepError("CKA divides by how much each representation varies; one of them hardly does.")
    return float(_hsic(k, m) / np.sqrt(own[0] * own[1]))


def procrustes(x: Float[Array, "row d"], y: Float[Array, "row2 d2"]) -> tuple[float, Float[Array, "d d2"]]:
    """How much of y's variation is left after rotating (and scaling) x onto it, and the rotation.

    Both are centred and brought to unit size. With no more rows than dimensions much fits by chance: compare with rows
    that are permuted.

    Args:
        x, y: [row, d], the same rows in the same order; at least two.

    Returns:
        The share that is left (0: they agree; 1: nothing fits), and [d, d] the rotation.

    Raises:
        SelfrepError: fewer than two rows; shapes that differ; a representation that does not vary.

    Source: Schönemann 1966.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(20, 3))
        >>> rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        >>> left, turn = procrustes(x, 5 * x @ rotation)
        >>> round(left, 6), bool(np.allclose(turn, rotation))
        (0.0, True)
    """
    _same_rows(x, y, 2)
    if x.shape != y.shape:
        raise SelfrepError(f"A rotation keeps the dimension; got {x.shape[1]} and {y.shape[1]}. Project both first.")
    a, b = (_unit(z) for z in (x, y))
    rotation, alike = linalg.orthogonal_procrustes(a, b)
    return float(max(0.0, 1 - alike**2)), rotation


def principal_angles(a: Float[Array, "k1 d1"], b: Float[Array, "k2 d2"]) -> Float[Array, " k"]:
    """The angles between two subspaces, in degrees: 0, a direction that both hold; 90, one that the other lacks.

    Args:
        a, b: [k, d] the rows span the subspaces; linearly independent.

    Returns:
        [min(k_a, k_b)] angles in degrees, ascending.

    Raises:
        SelfrepError: other dimensions; more rows than dimensions; rows that are not linearly independent.

    Source: Björck & Golub 1973, by scipy.

    Example:
        >>> x, y, z = np.eye(3)
        >>> principal_angles(np.array([x, y]), np.array([x, z])).round(1)
        array([ 0., 90.])
    """
    if a.shape[1] != b.shape[1]:
        raise SelfrepError(f"Angles are between subspaces of one space; got {a.shape[1]} and {b.shape[1]} dimensions.")
    for name, rows in (("first", a), ("second", b)):
        rank = int(np.linalg.matrix_rank(rows)) if rows.size else 0
        if rank < max(1, len(rows)):
            raise SelfrepError(
                f"A subspace is given by linearly independent rows; the {name} has {len(rows)} of rank {rank}."
            )
    return np.sort(np.degrees(linalg.subspace_angles(a.T, b.T)))


def _same_rows(x: Array, y: Array, fewest: int) -> None:
    if len(x) != len(y) or len(x) < fewest:
        raise SelfrepError(
            f"Representations are compared on the same rows, at least {fewest}; got {len(x)} and {len(y)}."
        )


def _unit(x: Float[Array, "row d"]) -> Float[Array, "row d"]:
    centred = x.astype(float) - x.mean(axis=0)
    size = np.linalg.norm(centred)
    if not size > 1e-12 * np.linalg.norm(x):
        raise SelfrepError("A representation that does not vary over its rows cannot be compared.")
    return centred / size


def _hollow(x: Float[Array, "row d"]) -> Float[Array, "row row"]:
    centred = _unit(x)  # the unbiased estimate does not need it; the arithmetic does
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    return gram


def _hsic(k: Float[Array, "row row"], m: Float[Array, "row row"]) -> float:
    """The unbiased estimate, up to n (n − 3); diagonals are 0."""
    n = len(k)
    apart = k.sum() * m.sum() / ((n - 1) * (n - 2))
    return float((k * m).sum() + apart - 2 * k.sum(axis=0) @ m.sum(axis=0) / (n - 2))
