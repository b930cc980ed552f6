"""How alike two representations are, whatever their axes: debiased CKA, on plain arrays.

It compares the same rows (e.g. prompts, in the same order) at two layers, sites or models. With fewer rows than
dimensions any two clouds look alike to plain CKA. So it is computed with unbiased estimates, which are 0 on average for
unrelated representations, and may be negative.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

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
    if len(x) != len(y) or len(x) < 4:
        raise SelfrepError(f"Representations are compared on the same rows, at least 4; got {len(x)} and {len(y)}.")
    k, m = (_hollow(z) for z in (x, y))
    own = [_hsic(z, z) for z in (k, m)]  # never below 0 but for rounding
    if any(negligible(size, (z**2).sum(), degree=2) for size, z in zip(own, (k, m), strict=True)):
        raise SelfrepError("CKA divides by how much each representation varies; one of them hardly does.")
    return float(_hsic(k, m) / np.sqrt(own[0] * own[1]))


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
