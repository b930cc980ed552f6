"""Laws of resampling, against brute force and textbook answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats import resampling


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


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
    assert x.mean() - found == pytest.approx(student.low, rel=1e-9)
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


@pytest.mark.slow
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


def test_units_that_are_equal_but_for_rounding_tie() -> None:
    assert float(resampling.auc(np.array([0.1 + 0.2]), np.array([0.3]))) == 0.5
    assert float(resampling.auc(np.array([0.3]), np.array([0.1 + 0.2]))) == 0.5
    assert float(resampling.auc(np.array([3e-9]), np.array([2e-9]))) == 1.0, "small, and not equal"


@pytest.mark.parametrize("n", [4, 9, 20])
def test_the_interval_of_a_count_is_the_exact_one_and_holds_every_truth(n: int) -> None:
    bounds = np.array([resampling.counted(k / n, n) for k in range(n + 1)])
    exact = [scipy_stats.binomtest(k, n).proportion_ci() for k in range(n + 1)]
    np.testing.assert_allclose(bounds, exact, atol=1e-12)
    truths = np.linspace(0.01, 0.99, 99)
    of_count = scipy_stats.binom.pmf(np.arange(n + 1)[:, None], n, truths)
    holds = (bounds[:, :1] <= truths) & (truths <= bounds[:, 1:])
    assert ((of_count * holds).sum(axis=0) > 0.95).all()
    drawn = np.quantile(np.random.default_rng(0).binomial(n, np.arange(n + 1)[:, None] / n, (n + 1, 2000)) / n,
                        (0.025, 0.975), axis=1)  # fmt: skip
    bootstrap = (drawn[0][:, None] <= truths) & (truths <= drawn[1][:, None])
    assert (of_count * bootstrap).sum(axis=0).min() < 0.5, "units that all agree are drawn to agree always"


def test_units_that_are_partly_one_thing_count_in_part() -> None:
    low, high = np.array([resampling.counted(share, 9) for share in (7 / 9, 7.5 / 9, 8 / 9)]).T
    assert (np.diff(low) > 0).all()
    assert (np.diff(high) > 0).all()
