"""Could labels that mean nothing do as well? Permutation tests on plain numpy arrays.

The unit is the persona. Every statistic tested here is *linear* in a table computed once per cell. So a labeling is a
row of weights, and ten thousand of them over a whole map are one matrix product: `table @ weights.T`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, permutations, product
from math import comb, factorial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from selfrep.errors import SelfrepError
from selfrep.stats.rounding import ROUNDING

Array = np.ndarray
ALPHA = 0.05
_CHUNK = 2**23  # numbers held at once while walking a null distribution (64 MiB)


def n_splits(first: int, second: int) -> int:
    """In how many ways `first` + `second` units fall into groups of those sizes (unordered when equally large).

    Example:
        >>> n_splits(4, 4), n_splits(3, 5)
        (35, 56)
    """
    return comb(first + second, first) // (2 if first == second else 1)


def require_flips(n_units: int, *, unit: str = "persona") -> None:
    """Refuse so few units that no flip of their signs could reach p = .05.

    Args:
        n_units: how many there are.
        unit: what a unit is called in the error.

    Raises:
        SelfrepError: fewer than six units; it says the smallest p that they could give.
    """
    smallest = 0.5 ** (n_units - 1) if n_units else 1.0
    many = f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"
    if smallest > ALPHA:
        raise SelfrepError(
            f"Too few {many} to test: the signs of at least six {many} are flipped to reach p = {ALPHA}; got "
            f"{n_units}. The smallest p these could give is {smallest:.3g}. Add {many}."
        )


def groups_of(units: Iterable[object], groups: Iterable[object], *, unit: str = "persona") -> dict[str, str]:
    """The group each unit belongs to, from the unit and the group of every row, in order of appearance.

    Args:
        units, groups: one of each for every row.
        unit: what a unit is called in the error.

    Raises:
        SelfrepError: a unit has rows in two groups, and would be compared with itself.

    Example:
        >>> groups_of(["hal", "hal", "jfk"], ["ai", "ai", "human"])
        {'hal': 'ai', 'jfk': 'human'}
    """
    out: dict[str, str] = {}
    for name, group in zip(map(str, units), map(str, groups), strict=True):
        if out.setdefault(name, group) != group:
            raise SelfrepError(
                f"A {unit} stands on one side only; {name!r} has rows in {out[name]!r} and in {group!r}. "
                "Give all its rows one label, or the two different names."
            )
    return out


def labelings(membership: Bool[Array, " unit"], limit: int, rng: np.random.Generator) -> Bool[Array, "labeling unit"]:
    """The group memberships to compare with: every distinct split when there are at most `limit`, else random ones.

    Row 0 is the membership of the data as it is given, so that its weights are the contrast of the data with its sign,
    and a p-value is the plain share of rows at least as extreme as row 0, never 0. Of the two memberships that name the
    same split of equally large groups only one is enumerated, that in which the first unit stays where it is: a
    *tested* statistic must not care which of two equally large groups is called the first.

    Args:
        membership: [unit] whether a unit is in the first group.
        limit: the most splits to enumerate; as many random ones where there are more.
        rng: of the random ones.

    Returns:
        [labeling, unit] memberships with the same group sizes.

    Example:
        >>> labelings(np.array([True, True, False]), 100, np.random.default_rng(0))
        array([[ True,  True, False],
               [ True, False,  True],
               [False,  True,  True]])
    """
    n, size = len(membership), int(membership.sum())
    if n_splits(size, n - size) > limit:
        keys = np.argsort(rng.random((limit, n)), axis=1)
        return np.vstack([membership, membership[keys]])
    halved = 2 * size == n
    members = combinations(range(1, n), size - 1) if halved else combinations(range(n), size)
    rows = np.zeros((n_splits(size, n - size), n), dtype=bool)
    for row, chosen in enumerate(members):
        rows[row, list(chosen)] = True
    if halved:
        rows[:, 0] = True
        rows = rows == membership[0]  # complements them all where the first unit is in the second group
    here = int(np.flatnonzero((rows == membership).all(axis=1))[0])
    rows[[0, here]] = rows[[here, 0]]
    return rows


def sign_flips(n_units: int, limit: int, rng: np.random.Generator) -> Float[Array, "flip unit"]:
    """Signs for every unit: all distinct flips (but for a common sign) when at most `limit`, else random ones.

    Returns:
        [flip, unit] of ±1; row 0 is all +1.

    Example:
        >>> sign_flips(3, 100, np.random.default_rng(0))
        array([[ 1.,  1.,  1.],
               [ 1.,  1., -1.],
               [ 1., -1.,  1.],
               [ 1., -1., -1.]])
    """
    total = 2 ** (n_units - 1)
    if total > limit:
        return np.vstack([np.ones(n_units), rng.choice([-1.0, 1.0], (limit, n_units))])
    rest = np.array(list(product((1.0, -1.0), repeat=n_units - 1))).reshape(total, n_units - 1)
    return np.hstack([np.ones((total, 1)), rest])


def orders(n: int, limit: int, rng: np.random.Generator) -> Int[Array, "order n"]:
    """Orders of n things: all when at most `limit`, else random ones.

    Returns:
        [order, n]; row 0 leaves things as they are.

    Example:
        >>> orders(3, 100, np.random.default_rng(0)).tolist()
        [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """
    if factorial(n) <= limit:
        return np.array(list(permutations(range(n))))
    return np.vstack([np.arange(n), np.argsort(rng.random((limit, n)), axis=1)])


class PermutationTest(NamedTuple):
    """What a permutation test says of each cell.

    Attributes:
        p: [cell] the share of labelings that do as well.
        p_max: [cell] the same against the largest cell of each labeling (family-wise).
        null_high: [cell] the 95th percentile of the statistic under the labelings.
    """

    p: Float[Array, " cell"]
    p_max: Float[Array, " cell"]
    null_high: Float[Array, " cell"]


def tolerance(
    table: Float[Array, "*cell entry"],
    weights: Float[Array, "labeling entry"],
    scale: float | Float[Array, "*some"] | None = None,
) -> Float[Array, "*cell"]:
    """By how much two labelings of a cell may differ and yet tie: the rounding of what the table was computed from.

    The same model in other batches answers differently by 1e-7 of what it answers. Labelings that tie on paper must tie
    whatever that does, so that a run that was interrupted has the p-values of one that was not.

    Args:
        table: [..., entry] what the statistic is linear in, at each cell.
        weights: [labeling, entry].
        scale: the size of what each entry was subtracted from, where that is larger than the entry; broadcast with the
            table. Log odds of 10 that differ by .1 are known to 1e-6, not to 1e-8.

    Returns:
        [...] in the unit of the statistic.

    Example:
        >>> tolerance(np.array([[0.1, 0.1]]), np.array([[0.5, -0.5]]), scale=10.0)
        array([1.e-05])
    """
    size = np.abs(table) if scale is None else np.maximum(np.abs(table), scale)
    return ROUNDING * (size @ np.abs(weights).max(axis=0))


def share_as_large(null: Float[Array, "*cell labeling"], slack: float | Float[Array, "*cell"]) -> Float[Array, "*cell"]:
    """p: the share of labelings whose statistic is as large as that of the first, but for rounding.

    Args:
        null: [..., labeling] the statistic, that of the data first.
        slack: [...] by how much two that tie may differ (see `tolerance`).

    Example:
        >>> float(share_as_large(np.array([0.3, 0.1 + 0.2 - 1e-9, 0.1, 0.4]), 1e-6))
        0.75
    """
    return np.asarray((null >= (null[..., 0] - slack)[..., None]).mean(axis=-1))


def statistic(
    table: Float[Array, "*cell entry"], weights: Float[Array, "labeling entry"], slack: Float[Array, "*cell"]
) -> Float[Array, "*cell labeling"]:
    """`table @ weights.T`, exactly 0 in every labeling of a cell where it is 0 but for rounding.

    A labeling sums the terms in its own order: where they cancel, what is left would still tell labelings apart.

    Args:
        table: [..., entry] what the statistic is linear in, at each cell.
        weights: [labeling, entry].
        slack: [...] see `tolerance`.

    Returns:
        [..., labeling].
    """
    out = table @ weights.T
    nothing = np.sqrt((out**2).mean(axis=-1)) <= slack
    return np.where(nothing[..., None], 0.0, out)


def permutation_test(
    table: Float[Array, "cell entry"],
    weights: Float[Array, "labeling entry"],
    *,
    absolute: bool = False,
    scale: float | Float[Array, "*some"] | None = None,
) -> PermutationTest:
    """Test the statistic of each cell against the same statistic under other labelings.

    The statistic is `table @ weights[0]`. For the maximum over cells each cell is divided by the root mean square of
    its null, so that noisy cells do not set the bar for quiet ones. That does not depend on which labeling is the true
    one, so the test stays exact. Statistics that differ by no more than rounding tie, and ties count against the data.

    Args:
        table: [cell, entry] what the statistic is linear in, e.g. the mean of every persona. Cells with NaN give NaN.
        weights: [labeling, entry] that of the data first, e.g. from `labelings` or `sign_flips`.
        absolute: take magnitudes first (for signed statistics; a squared distance needs none).
        scale: the size of what the entries were subtracted from, where it is larger than they (see `tolerance`).

    Returns:
        `PermutationTest`: `p`, `p_max` and `null_high` of each cell. A cell where the statistic is 0 in every labeling,
        but for rounding, has p = 1.

    Source: Westfall & Young 1993.

    Example:
        Two cells, eight units; the two groups differ in the first cell alone:

        >>> first = np.arange(8) < 4
        >>> table = np.array([[5.0, 6.0, 5.5, 6.5, 1.0, 2.0, 1.5, 2.5], [1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0]])
        >>> labels = labelings(first, 100, np.random.default_rng(0))
        >>> permutation_test(table, np.where(labels, 1 / 4, -1 / 4), absolute=True).p.round(3)  # of 35 splits
        array([0.029, 1.   ])
    """
    valid = np.flatnonzero(np.isfinite(table).all(axis=1))
    slack = np.full(len(table), np.nan)
    slack[valid] = tolerance(table, weights, scale)[valid]
    p, high, t = (np.full(len(table), np.nan) for _ in range(3))
    largest = np.zeros(len(weights))
    for start in range(0, len(valid), max(1, _CHUNK // len(weights))):
        cells = valid[start : start + max(1, _CHUNK // len(weights))]
        null = statistic(table[cells], weights, slack[cells])
        spread = np.sqrt((null**2).mean(axis=1))
        null = np.abs(null) if absolute else null
        null = np.where(np.abs(null) <= slack[cells, None], 0.0, null)
        p[cells] = share_as_large(null, slack[cells])
        high[cells] = np.quantile(null, 1 - ALPHA, axis=1)
        unit = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
        t[cells] = (null[:, 0] - slack[cells]) * unit
        np.maximum(largest, ((null + slack[cells, None]) * unit[:, None]).max(axis=0), out=largest)
    ordered = np.sort(largest)
    reached = len(ordered) - np.searchsorted(ordered, t[valid], side="left")
    p_max = np.full(len(table), np.nan)
    p_max[valid] = np.maximum(reached / len(ordered), p[valid])
    return PermutationTest(p, p_max, high)
