"""Laws of permutation tests, against brute force and textbook answers."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats import permutation


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def signed(labels: np.ndarray) -> np.ndarray:
    """Weights that make the difference of two group means."""
    return np.where(labels, 1 / labels.sum(1, keepdims=True), -1 / (~labels).sum(1, keepdims=True))


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_every_split_is_enumerated_once_and_the_observed_one_first(first: int, second: int, seed: int) -> None:
    observed = rng(seed).permutation(np.repeat([True, False], [first, second]))
    labels = permutation.labelings(observed, 10_000, rng())
    as_split = {frozenset([frozenset(np.flatnonzero(r)), frozenset(np.flatnonzero(~r))]) for r in labels}
    assert len(labels) == len(as_split) == permutation.n_splits(first, second)
    assert (labels[0] == observed).all()
    assert (labels.sum(axis=1) == first).all()


@pytest.mark.parametrize("limit", [10_000, 20], ids=["enumerated", "sampled"])
@pytest.mark.parametrize("observed", ["11110000", "00001111", "01111000"])
def test_the_first_labeling_is_the_one_given_and_no_other_tells_the_groups_apart(observed: str, limit: int) -> None:
    """The group of the first unit may be either; p does not depend on which is called the first."""
    given = np.array([digit == "1" for digit in observed])
    labels, other = (permutation.labelings(x, limit, rng()) for x in (given, ~given))
    assert (labels[0] == given).all()
    assert (other == ~labels).all()
    x = rng(1).normal(size=(50, 8)) + 2 * given
    ours, theirs = (permutation.permutation_test(x, signed(rows), absolute=True) for rows in (labels, other))
    for name, values in ours._asdict().items():
        np.testing.assert_array_equal(values, getattr(theirs, name), err_msg=name)


def test_too_many_splits_are_sampled_with_the_group_sizes_kept() -> None:
    observed = np.repeat([True, False], [10, 9])
    labels = permutation.labelings(observed, 200, rng())
    assert len(labels) == 201
    assert (labels[0] == observed).all()
    assert (labels.sum(axis=1) == 10).all()


@given(st.lists(st.integers(-5, 5), min_size=7, max_size=8))
def test_exact_p_equals_brute_force(values: list[int]) -> None:
    x = np.array(values, dtype=float)
    observed = np.arange(len(x)) < 4
    test = permutation.permutation_test(x[None], signed(permutation.labelings(observed, 10_000, rng())), absolute=True)
    splits = [np.isin(np.arange(len(x)), c) for c in combinations(range(len(x)), 4)]
    null = np.array([abs(x[s].mean() - x[~s].mean()) for s in splits])
    assert test.p[0] == pytest.approx((null >= abs(x[:4].mean() - x[4:].mean()) - 1e-9).mean())


def _any_weights() -> np.ndarray:
    return rng(4).random((35, 7))  # their statistics are not 0 on average, as those of a squared distance are not


@pytest.mark.parametrize("chunk", [permutation._CHUNK, 1])
@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("weights", [signed(permutation.labelings(np.arange(7) < 3, 100, rng())), _any_weights()])
def test_the_null_and_the_family_wise_p_equal_brute_force(
    weights: np.ndarray, absolute: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cell by cell and labeling by labeling, as the docstring says it."""
    monkeypatch.setattr(permutation, "_CHUNK", chunk)  # however many cells are held at once
    table = rng(3).normal(size=(4, 7)) * np.array([[1.0], [20.0], [0.1], [1.0]])
    table[:2, :3] += np.array([[1.5], [20.0]])
    tied = np.array([[0.3, 0.1, 0.3, 0.1, 0.2, 0.1, 0.1], [0.7, 0.7, 0.1, 0.1, 0.1, 0.1, 0.7]])
    for cells in (table, tied, tied[1:]):
        test = permutation.permutation_test(cells, weights, absolute=absolute)
        largest = np.full(len(weights), -np.inf)
        observed = []
        for c, cell in enumerate(cells):
            null = np.array([sum(w * x for w, x in zip(row, cell, strict=True)) for row in weights])
            spread = np.sqrt(np.mean([v**2 for v in null]))
            null = np.abs(null) if absolute else null
            assert test.p[c] == pytest.approx(np.mean([v >= null[0] - 1e-12 for v in null]))
            assert test.null_high[c] == pytest.approx(np.quantile(null, 0.95))
            largest = np.maximum(largest, null / spread)
            observed.append(null[0] / spread)
        assert test.p_max == pytest.approx([np.mean(largest >= own - 1e-12) for own in observed])
        if cells is table:
            assert (test.p_max > test.p).any(), "the control: the family costs something"


def test_p_is_uniform_under_the_null() -> None:
    observed = np.repeat([True, False], 6)
    weights = signed(permutation.labelings(observed, 10_000, rng()))
    p = permutation.permutation_test(rng(1).normal(size=(1000, 12)), weights, absolute=True).p
    assert scipy_stats.kstest(p, "uniform").pvalue > 0.001
    assert p.min() >= 1 / len(weights)


def test_the_family_wise_p_bounds_false_alarms_anywhere_on_the_map_where_the_plain_p_does_not() -> None:
    observed = np.repeat([True, False], 6)
    weights = signed(permutation.labelings(observed, 10_000, rng()))
    scale = np.geomspace(0.01, 100, 20)[:, None]  # quiet and noisy cells
    tests = [
        permutation.permutation_test(scale * rng(s).normal(size=(20, 12)), weights, absolute=True) for s in range(200)
    ]
    assert np.mean([(t.p_max <= 0.05).any() for t in tests]) < 0.09
    assert np.mean([(t.p <= 0.05).any() for t in tests]) > 0.4  # the control


def test_a_noisy_cell_does_not_hide_a_quiet_one() -> None:
    observed = np.repeat([True, False], 6)
    table = np.stack([np.where(observed, 1.0, -1.0) + 0.1 * rng().normal(size=12), 1e6 * rng(1).normal(size=12)])
    assert (
        permutation.permutation_test(
            table, signed(permutation.labelings(observed, 10_000, rng())), absolute=True
        ).p_max[0]
        < 0.05
    )


def test_cells_without_numbers_have_no_p_and_cells_without_variation_have_p_1() -> None:
    weights = signed(permutation.labelings(np.repeat([True, False], 4), 100, rng()))
    table = np.array([[np.nan, *range(7)], [3.0] * 8, [10, 11, 12, 13, 0, 1, 2, 3]])
    test = permutation.permutation_test(table, weights, absolute=True)
    assert np.isnan([test.p[0], test.p_max[0], test.null_high[0]]).all()
    assert test.p[1] == test.p_max[1] == 1
    assert test.p[2] == 1 / 35


@pytest.mark.parametrize("prompt_level", [False, True])
def test_counting_prompts_instead_of_personas_is_pseudo_replication(prompt_level: bool) -> None:
    observed = np.repeat([True, False], 6)
    alarms = []
    for seed in range(150):
        prompts = rng(seed).normal(size=(12, 1)) + 0.3 * rng(seed + 1000).normal(size=(12, 5))
        if prompt_level:
            table, first = prompts.ravel(), np.repeat(observed, 5)
        else:
            table, first = prompts.mean(axis=1), observed
        weights = signed(permutation.labelings(first, 500, rng(seed)))
        alarms.append(permutation.permutation_test(table[None], weights, absolute=True).p[0] <= 0.05)
    assert (np.mean(alarms) > 0.25) if prompt_level else (np.mean(alarms) < 0.1)


def test_too_few_signs_to_flip_are_refused_with_the_smallest_p() -> None:
    permutation.require_flips(6)
    with pytest.raises(SelfrepError, match=r"got 5\. The smallest p these could give is 0\.0625"):
        permutation.require_flips(5)


def test_a_unit_stands_on_one_side_only() -> None:
    assert permutation.groups_of(["x", "y", "x"], ["ai", "human", "ai"]) == {"x": "ai", "y": "human"}
    with pytest.raises(SelfrepError, match=r"one side only; 'x' has rows in 'ai' and in 'human'"):
        permutation.groups_of(["x", "y", "x"], ["ai", "human", "human"])


@given(st.integers(1, 9))
def test_all_sign_flips_are_enumerated_up_to_the_common_sign(n: int) -> None:
    flips = permutation.sign_flips(n, 1000, rng())
    assert (flips[0] == 1).all()
    assert (flips[:, 0] == 1).all()
    assert len({tuple(f) for f in flips}) == len(flips) == 2 ** (n - 1)
    assert set(np.unique(flips)) <= {-1.0, 1.0}


@pytest.mark.parametrize(
    ("limit", "splits", "flips", "orders"), [(24, 24, 24, 24), (35, 35, 35, 24), (64, 35, 64, 24), (23, 24, 24, 24)]
)
def test_everything_is_enumerated_up_to_the_limit_and_beyond_it_sampled(
    limit: int, splits: int, flips: int, orders: int
) -> None:
    """3 against 4 have 35 splits, 7 signs 64 flips, 4 things 24 orders; a sample is row 0 and `limit` more."""
    observed = np.arange(7) < 3
    labels, signs, order = (
        permutation.labelings(observed, limit, rng()), permutation.sign_flips(7, limit, rng()),
        permutation.orders(4, limit, rng()),
    )  # fmt: skip
    for rows, whole, n in ((labels, 35, splits), (signs, 64, flips), (order, 24, orders)):
        assert len(rows) == (n if limit >= whole else limit + 1)
        assert (len(np.unique(rows, axis=0)) == whole) == (limit >= whole)
    assert (labels[0] == observed).all()
    assert (signs[0] == 1).all()
    assert set(np.unique(signs)) == {-1.0, 1.0}


def test_all_orders_are_enumerated_or_some_sampled_the_given_one_first() -> None:
    whole = permutation.orders(4, 100, rng())
    assert len({tuple(row) for row in whole}) == 24
    some = permutation.orders(8, 100, rng())
    assert some.shape == (101, 8)
    assert (np.sort(some, axis=1) == np.arange(8)).all()
    assert (whole[0] == np.arange(4)).all()
    assert (some[0] == np.arange(8)).all()


def _exact(table: np.ndarray, weights: list[list[Fraction]]) -> tuple[list[Fraction], list[Fraction]]:
    """p and p_max of |statistic| in rational numbers: the maximum is that of squares beside their mean."""
    cells = [[Fraction(int(x)) for x in cell] for cell in table]
    nulls = [
        [sum((w * x for w, x in zip(row, cell, strict=True)), Fraction(0)) ** 2 for row in weights] for cell in cells
    ]
    scaled = [[v * len(null) / sum(null) if sum(null) else Fraction(0) for v in null] for null in nulls]
    largest = [max(column) for column in zip(*scaled, strict=True)]
    n = len(weights)
    return (
        [Fraction(sum(v >= null[0] for v in null), n) for null in nulls],
        [Fraction(sum(v >= null[0] for v in largest), n) for null in scaled],
    )


_KINDS = {
    "labels": lambda n: signed(permutation.labelings(np.arange(n) < n // 2, 10_000, rng())),
    "flips": lambda n: permutation.sign_flips(n, 10_000, rng()) / n,
    "orders": lambda n: (np.arange(n) - (n - 1) / 2)[permutation.orders(n, 40, rng())] / 7,
}


@pytest.mark.parametrize("kind", _KINDS)
@settings(deadline=None, derandomize=True, max_examples=20)
@given(data=st.data(), n=st.integers(4, 6), seed=st.integers(0, 9))
def test_ties_are_those_of_exact_arithmetic_whatever_noise_of_rounding_is_added(
    kind: str, data: st.DataObject, n: int, seed: int
) -> None:
    """Small whole numbers tie often. They are answers of 30 nats less 27 or so, with noise of 1e-7 of the 30."""
    row = st.lists(st.integers(-3, 3), min_size=n, max_size=n)
    table = np.array(data.draw(st.lists(row, min_size=1, max_size=3)), dtype=float)
    weights = _KINDS[kind](n)
    exact = [[Fraction(float(w)).limit_denominator(1000) for w in labeling] for labeling in weights]
    p, p_max = _exact(table, exact)
    for noise in (0.0, 3e-6):
        moved = table + noise * rng(seed).uniform(-1, 1, table.shape)
        test = permutation.permutation_test(moved, weights, absolute=True, scale=30.0)
        assert test.p.tolist() == [float(x) for x in p]
        assert test.p_max.tolist() == [float(x) for x in p_max]


def test_what_is_more_than_rounding_breaks_a_tie() -> None:
    """The control of the law of ties."""
    weights = signed(permutation.labelings(np.arange(8) < 4, 100, rng()))
    tied = np.array([[1.0, 1.0, 0, 0, 0, 0, 0, 0]])
    apart = tied + np.array([[0, 0, 3e-4, 0, 0, 0, 0, 0]])
    before, after = (permutation.permutation_test(x, weights, absolute=True).p[0] for x in (tied, apart))
    assert (before, after) == (15 / 35, 5 / 35)
    assert permutation.permutation_test(apart, weights, absolute=True, scale=1e3).p[0] == before


def test_without_the_tolerance_the_same_noise_moves_most_p_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other control: the ties above are there, and noise does break them."""
    monkeypatch.setattr(permutation, "ROUNDING", 1e-9)
    weights, moved = permutation.sign_flips(6, 100, rng()) / 6, 0
    for seed in range(20):
        table = rng(seed).integers(-3, 4, size=(1, 6)).astype(float)
        noisy = table + 3e-6 * rng(seed).uniform(-1, 1, table.shape)
        before, after = (
            permutation.permutation_test(x, weights, absolute=True, scale=30.0).p[0] for x in (table, noisy)
        )
        moved += before != after
    assert moved > 10
