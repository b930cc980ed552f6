"""Cluster mass: brute force on small maps, exact under the null, blind across segments."""

from __future__ import annotations

from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import binom

from selfrep.errors import SelfrepError
from selfrep.stats import permutation
from selfrep.stats.clusters import cluster_mass

Array = np.ndarray
FIRST = np.repeat([True, False], 4)


def weights(first: Array = FIRST) -> Array:
    labels = permutation.labelings(first, 10_000, np.random.default_rng(0))
    return np.where(labels, 1 / labels.sum(1, keepdims=True), -1 / (~labels).sum(1, keepdims=True))


def smooth(seed: int, shape: tuple[int, int] = (6, 8), sigma: float = 1.5) -> Array:
    """[layer, position, persona] noise in which neighbours go together."""
    x = np.random.default_rng(seed).normal(size=(*shape, 8))
    return ndimage.gaussian_filter(x, (sigma, sigma, 0))


def planted(seed: int = 0, size: float = 1.0) -> Array:
    x = smooth(seed, sigma=0.6)
    x[2:4, 1:4] += size * np.where(FIRST, 1, -1)
    return x


def by_hand(table: Array, w: Array) -> tuple[float, Array]:
    """The heaviest patch of each labeling, patch by patch and labeling by labeling."""
    null = np.moveaxis(table @ w.T, -1, 0)
    null = null / np.sqrt((null**2).mean(axis=0))
    bar = np.quantile(np.abs(null), 0.95, axis=0)
    heaviest = []
    for one in null:
        masses = [0.0]
        for sign in (1, -1):
            label, n = ndimage.label(sign * one > bar + 1e-9)
            masses += [float((sign * one)[label == k].sum()) for k in range(1, n + 1)]
        heaviest.append(max(masses))
    return heaviest[0], np.array(heaviest)


@pytest.mark.parametrize("seed", range(4))
def test_the_heaviest_patch_and_its_p_are_those_found_by_hand(seed: int) -> None:
    table = planted(seed, 0.3)
    mass, heaviest = by_hand(table, weights())
    found = cluster_mass(table, weights(), absolute=True)
    assert found.mass[0] == pytest.approx(mass)
    assert found.p[0] == pytest.approx((heaviest >= mass - 1e-9).mean())
    assert found.null_high == pytest.approx(np.quantile(heaviest, 0.95))
    assert (np.diff(found.mass) <= 0).all()


def test_a_planted_patch_is_found_where_it_is() -> None:
    found = cluster_mass(planted(), weights(), absolute=True)
    assert found.p[0] == 1 / 35
    assert (found.label[2:4, 1:4] == 1).all()
    assert found.label.shape == (6, 8)


def test_under_the_null_false_alarms_keep_their_rate() -> None:
    alarms = []
    for seed in range(150):
        found = cluster_mass(smooth(seed), weights(), absolute=True)
        alarms.append(len(found.p) > 0 and bool(found.p.min() <= 0.05))
    assert sum(alarms) <= binom.ppf(0.999, len(alarms), 0.05)


def test_patches_do_not_cross_segments_nor_join_opposite_signs() -> None:
    table = 0.01 * np.random.default_rng(0).normal(size=(2, 4, 8))
    side = np.where(FIRST, 1, -1)
    table[:, :2] += side
    table[:, 2:] += side
    whole = cluster_mass(table, weights(), absolute=True)
    apart = cluster_mass(table, weights(), ["question", "question", "prefill", "prefill"], absolute=True)
    assert set(np.unique(whole.label)) == {1}
    assert sorted(map(tuple, np.unique(apart.label, axis=1).tolist())) == [(1, 2), (1, 2)]
    assert whole.mass[0] == pytest.approx(apart.mass.sum())
    table[:, 2:] -= 2 * side
    opposite = cluster_mass(table, weights(), absolute=True)
    assert len(opposite.mass) == 2
    assert len(np.unique(opposite.label)) == 2


def test_an_unsigned_statistic_has_patches_above_only() -> None:
    table = planted()
    low = cluster_mass(-table, weights(), absolute=False)
    both = cluster_mass(-table, weights(), absolute=True)
    assert not (low.label[2:4, 1:4] > 0).any()
    assert (both.label[2:4, 1:4] == 1).all(), "the control"


def test_missing_and_constant_cells_belong_to_no_patch() -> None:
    table = planted()
    table[2, 2] = np.nan
    table[3, 2] = 1.0
    found = cluster_mass(table, weights(), absolute=True)
    assert found.label[2, 2] == found.label[3, 2] == 0
    empty = cluster_mass(np.full((2, 2, 8), 3.0), weights(), absolute=True)
    assert empty.mass.size == 0
    assert (empty.label == 0).all()


def test_too_few_labelings_and_unequal_segments_are_refused() -> None:
    with pytest.raises(SelfrepError, match=r"10 give no smaller p than 0\.1"):
        cluster_mass(np.ones((2, 2, 6)), weights(np.repeat([True, False], 3)))
    with pytest.raises(SelfrepError, match="got 3 for 8 positions"):
        cluster_mass(smooth(0), weights(), ["a", "b", "c"])


def test_a_map_of_rounding_has_no_patch() -> None:
    labels = permutation.labelings(np.arange(7) < 3, 100, np.random.default_rng(0))
    w = np.where(labels, 1 / 3, -1 / 4)
    table = np.random.default_rng(0).normal(size=(6, 8, 1)) * np.ones(7)
    assert (table @ w.T).any(), "the control: the sums are not exactly 0"
    found = cluster_mass(table, w, absolute=True)
    assert found.mass.size == 0
    assert found.null_high == 0


def exactly(table: Array, w: Array) -> Fraction:
    """p of the heaviest patch, in exact arithmetic (square roots to 60 digits)."""
    getcontext().prec = 60
    n = len(w)
    exact = [[Fraction(float(x)).limit_denominator(1000) for x in row] for row in w]
    null, bar, root = {}, {}, {}
    for cell in np.ndindex(table.shape[:2]):
        values = [sum((x * int(y) for x, y in zip(row, table[cell], strict=True)), Fraction(0)) for row in exact]
        ordered, at = sorted(map(abs, values)), Fraction(95, 100) * (n - 1)
        low = int(at)
        null[cell], bar[cell] = values, ordered[low] + (at - low) * (ordered[min(low + 1, n - 1)] - ordered[low])
        square = sum((v * v for v in values), Fraction(0)) / n
        root[cell] = (Decimal(square.numerator) / Decimal(square.denominator)).sqrt()
    heaviest = []
    for labeling in range(n):
        masses = [Decimal(0)]
        for sign in (1, -1):
            beyond = np.array(
                [
                    [sign * null[i, j][labeling] > bar[i, j] for j in range(table.shape[1])]
                    for i in range(table.shape[0])
                ]
            )
            label, patches = ndimage.label(beyond)
            for patch in range(1, patches + 1):
                values = [(null[tuple(at)][labeling] * sign, root[tuple(at)]) for at in np.argwhere(label == patch)]
                masses.append(sum((Decimal(v.numerator) / Decimal(v.denominator) / r for v, r in values), Decimal(0)))
        heaviest.append(max(masses))
    return Fraction(sum(mass >= heaviest[0] - Decimal("1e-40") for mass in heaviest), n)


def test_patches_tie_as_in_exact_arithmetic_whatever_noise_of_rounding_is_added() -> None:
    compared, ties = 0, 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        table = rng.integers(-1, 2, size=(2, 2, 8)).astype(float)
        table[:, :1] += np.where(FIRST, 1, -1)
        p = exactly(table, weights())
        for noise in (0.0, 1e-6):
            found = cluster_mass(table + noise * rng.uniform(-1, 1, table.shape), weights(), absolute=True, scale=10.0)
            if found.p.size:
                assert found.p[0] == float(p)
                compared, ties = compared + 1, ties + (p > Fraction(1, 35))
    assert compared > 20
    assert ties > 5
