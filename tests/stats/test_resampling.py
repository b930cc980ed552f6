"""Laws of resampling and permutation, against brute force and textbook answers."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling


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
    monkeypatch.setattr(stats, "_CHUNK", chunk)  # however many cells are held at once
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


@pytest.mark.parametrize(("sizes", "smallest"), [((1, 9), "0.1"), ((2, 8), "0.0222"), ((3, 3), "0.1")])
def test_too_few_units_are_refused_with_the_smallest_p_they_could_give(sizes: tuple[int, int], smallest: str) -> None:
    with pytest.raises(SelfrepError, match=rf"smallest p these could give is {smallest}\b"):
        permutation.require_units({"ai": sizes[0], "human": sizes[1]})


@given(st.integers(3, 12), st.integers(3, 12))
def test_enough_units_are_accepted(first: int, second: int) -> None:
    if 1 / (comb(first + second, first) // (1 + (first == second))) <= 0.05:
        permutation.require_units({"ai": first, "human": second})


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


def test_the_bootstrap_draws_as_many_units_as_there_are_and_enough_distinct_ones() -> None:
    counts = resampling.resample(3, 5000, rng(), distinct=2)
    assert (counts.sum(axis=1) == 3).all()
    assert ((counts > 0).sum(axis=1) >= 2).all()
    assert (
        resampling.resample(3, 5000, rng()) == 3
    ).any()  # the control: without the demand, some draw holds one unit only
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.05)


def test_rows_are_resampled_within_their_unit() -> None:
    unit = np.array([0, 1, 0, 1, 1, 2])
    weights = resampling.resample_within(unit, 500, rng())
    for u in range(3):
        np.testing.assert_allclose(weights[:, unit == u].sum(axis=1), 1)
    np.testing.assert_allclose(weights.mean(axis=0), [1 / 2, 1 / 3, 1 / 2, 1 / 3, 1 / 3, 1], atol=0.05)


def test_a_nested_draw_resamples_units_within_their_group_and_rows_within_their_unit() -> None:
    unit, contrast = np.repeat(np.arange(5), 3), np.array([0.5, 0.5, -1 / 3, -1 / 3, -1 / 3])
    weights = resampling.resample_nested(unit, contrast, 4000, rng())
    np.testing.assert_allclose(weights[:, :6].sum(axis=1), 1)
    np.testing.assert_allclose(weights[:, 6:].sum(axis=1), -1)
    np.testing.assert_allclose(weights.mean(axis=0), contrast[unit] / 3, atol=0.01)
    own, paraphrase = rng(1).normal(size=5)[unit], rng(2).normal(size=15)
    flat = resampling.resample_within(unit, 4000, rng()) * contrast[unit]
    assert (weights @ own).std() > 0.1
    assert (flat @ own).std() < 1e-9, "the control: without drawing units their luck does not show"
    assert (weights @ (own + paraphrase)).std() > (weights @ own).std()


def normal_draws(mean: float, values: np.ndarray, n: int = 20_001) -> np.ndarray:
    """Bootstrap draws of a mean as they are in the limit: normal, as wide as resampling the values makes them."""
    return mean + scipy_stats.norm.ppf((np.arange(n) + 0.5) / n) * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("n", [2, 4, 8, 30])
def test_the_expanded_interval_of_normal_draws_is_students(n: int) -> None:
    x = rng(n).normal(size=n)
    student = scipy_stats.ttest_1samp(x, 0).confidence_interval()
    found = scipy_stats.norm.isf(resampling.tail(n, n - 1)) * x.std() / np.sqrt(n)
    assert x.mean() - found == pytest.approx(student.ci_low, rel=1e-9)
    if n >= 8:  # with fewer units the percentiles lie beyond these draws
        np.testing.assert_allclose(
            resampling.interval(normal_draws(x.mean(), x), resampling.tail(n, n - 1)), student, atol=2e-3
        )


def test_the_expanded_interval_of_a_difference_is_that_of_the_t_test() -> None:
    a, b = rng(1).normal(size=(2, 8))
    student = scipy_stats.ttest_ind(a, b).confidence_interval()
    spread = np.sqrt((a.var() + b.var()) / 8)
    low, high = resampling.interval(
        normal_draws(0, np.array([-1.0, 1.0])) * spread * np.sqrt(2), resampling.tail(8, 14)
    )
    np.testing.assert_allclose((a.mean() - b.mean() + low, a.mean() - b.mean() + high), student, atol=2e-3)


def test_the_expanded_interval_covers_where_the_plain_percentiles_do_not() -> None:
    x = rng(5).normal(size=(3000, 8))
    draws = x @ (resampling.resample(8, 1000, rng()) / 8).T
    covered = {}
    for name, tail in (("expanded", resampling.tail(8, 7)), ("plain", 0.025)):
        low, high = resampling.interval(draws, tail)
        covered[name] = ((low <= 0) & (high >= 0)).mean()
    assert 0.93 < covered["expanded"] < 0.96  # the binomial error is .004
    assert covered["plain"] < 0.90


def test_an_interval_lies_between_the_two_tails() -> None:
    low, high = resampling.interval(np.arange(101.0)[None], 0.1)
    assert (low[0], high[0]) == (pytest.approx(10), pytest.approx(90))


def test_the_spread_interval_of_normal_draws_is_students() -> None:
    x = rng(2).normal(size=5)
    exact = x.mean() + np.array([-1.0, 1.0]) * x.std() / np.sqrt(5)  # draws of the standard deviation of resampling
    student = scipy_stats.ttest_1samp(x, 0).confidence_interval()
    np.testing.assert_allclose(resampling.spread_interval(np.array(x.mean()), exact, 5), student, rtol=1e-9)


def test_an_interval_of_draws_that_are_not_finite_is_missing() -> None:
    low, high = resampling.interval(np.array([[1.0, np.nan, 2.0], [1.0, 2.0, 3.0]]), 0.0)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (1, 3)


def test_the_spread_of_few_units_covers_where_percentiles_run_out() -> None:
    x = rng(6).normal(size=(3000, 4))
    draws = x @ (resampling.resample(4, 1000, rng()) / 4).T
    low, high = resampling.spread_interval(x.mean(axis=1), draws, 4)
    plain = resampling.interval(draws, 0.025)
    assert 0.94 < ((low <= 0) & (high >= 0)).mean() < 0.96
    assert ((plain[0] <= 0) & (plain[1] >= 0)).mean() < 0.85, "the control"
    with pytest.raises(SelfrepError, match="at least two units"):
        resampling.spread_interval(x[:, 0], draws, 1)


def test_all_orders_are_enumerated_or_some_sampled_the_given_one_first() -> None:
    whole = permutation.orders(4, 100, rng())
    assert len({tuple(row) for row in whole}) == 24
    some = permutation.orders(8, 100, rng())
    assert some.shape == (101, 8)
    assert (np.sort(some, axis=1) == np.arange(8)).all()
    assert (whole[0] == np.arange(4)).all()
    assert (some[0] == np.arange(8)).all()


def test_the_variance_of_a_nested_draw_is_that_of_units_and_that_of_rows_within_them() -> None:
    """A mean of n units of m rows varies by S/n for the units, and by W/m (2n − 1)/n² for rows drawn within them."""
    n, m = 6, 3
    unit = np.repeat(np.arange(n), m)
    own, paraphrase = rng(1).normal(size=n), rng(2).normal(size=(n, m))
    paraphrase -= paraphrase.mean(axis=1, keepdims=True)
    weights = resampling.resample_nested(unit, np.full(n, 1 / n), 40_000, rng())
    units = (weights @ own[unit]).var()
    rows = (weights @ paraphrase.ravel()).var()
    assert units == pytest.approx(own.var() / n, rel=0.03)
    # the number of times c that a unit is drawn has the mean square 1 + (n − 1)/n
    assert rows == pytest.approx((paraphrase**2).mean() / m * (2 * n - 1) / n**2, rel=0.03)
    pair = resampling.resample_nested(unit, np.repeat([1 / 2, -1 / 4], [2, 4]), 40_000, rng())
    assert (pair @ own[unit]).var() == pytest.approx(own[:2].var() / 2 + own[2:].var() / 4, rel=0.03)


def test_few_rows_drawn_anew_vary_as_much_as_they_do_once_rescaled() -> None:
    x = rng(7).normal(size=(5000, 2))
    unit = np.zeros(2, dtype=int)
    spread = {
        r: (x @ resampling.resample_within(unit, 9000, rng(8), rescaled=r).T).var(axis=1).mean() for r in (True, False)
    }
    assert spread[True] == pytest.approx(0.5, rel=0.1)
    assert spread[False] == pytest.approx(0.25, rel=0.1), "the control"
    one = resampling.resample_within(np.array([0, 1, 1]), 50, rng(), rescaled=True)
    np.testing.assert_allclose(one[:, 0], 1)
    np.testing.assert_allclose(one[:, 1:].sum(axis=1), 1)


def test_one_unit_has_no_interval() -> None:
    with pytest.raises(SelfrepError, match="at least two units"):
        resampling.tail(1, 0)


@settings(max_examples=30)
@given(st.integers(2, 6), st.floats(0.1, 10), st.integers(0, 99))
def test_the_paraphrase_sd_ignores_what_separates_personas(n: int, scale: float, seed: int) -> None:
    unit = np.repeat(np.arange(n), 3)
    paraphrase = rng(seed).normal(size=len(unit))
    apart = paraphrase + 1000.0 * unit
    assert resampling.within_sd(scale * apart, unit) == pytest.approx(
        scale * resampling.within_sd(paraphrase, unit), rel=1e-6
    )
    expected = np.sqrt(np.mean([paraphrase[unit == u].var(ddof=1) for u in range(n)]))
    assert resampling.within_sd(paraphrase, unit) == pytest.approx(expected)


def test_the_paraphrase_sd_pools_units_of_different_sizes_by_their_degrees_of_freedom() -> None:
    rows = [[1.0, 3.0], [0.0, 0.0, 6.0, 2.0], [100.0]]
    unit = np.repeat([0, 1, 2], [2, 4, 1])
    assert resampling.within_sd(np.concatenate(rows), unit) == pytest.approx(np.sqrt((2 + 24) / (1 + 3)))


def test_the_paraphrase_sd_needs_two_paraphrases_of_something() -> None:
    with pytest.raises(SelfrepError, match="two paraphrases"):
        resampling.within_sd(np.arange(3.0), np.arange(3))


@given(st.lists(st.integers(0, 5), min_size=2, max_size=6), st.lists(st.integers(0, 5), min_size=2, max_size=6))
def test_auc_is_the_mann_whitney_statistic(first: list[int], second: list[int]) -> None:
    expected = scipy_stats.mannwhitneyu(first, second).statistic / (len(first) * len(second)) if first + second else 0
    assert resampling.auc(np.array(first, float), np.array(second, float)) == pytest.approx(expected)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_statistic_that_is_0_but_for_rounding_has_p_1(size: float) -> None:
    labels = permutation.labelings(np.arange(7) < 3, 100, rng())
    constant = size * rng().normal(size=(40, 1)) * np.ones(7)
    assert (constant @ signed(labels).T).any(), "the control: the sums are not exactly 0"
    found = permutation.permutation_test(constant, signed(labels), absolute=True)
    for values, expected in zip(found, (1.0, 1.0, 0.0), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_units_that_are_equal_but_for_rounding_tie() -> None:
    assert float(resampling.auc(np.array([0.1 + 0.2]), np.array([0.3]))) == 0.5
    assert float(resampling.auc(np.array([0.3]), np.array([0.1 + 0.2]))) == 0.5
    assert float(resampling.auc(np.array([3e-9]), np.array([2e-9]))) == 1.0, "small, and not equal"
