"""Ratios: right bounds far from a zero denominator, right bounds near it, and none at it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from selfrep.stats import ratios


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def means_of_units(seed: int, denominator: float, n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Numerator and denominator (true ratio .5), and their bootstrap draws [2, draw]."""
    random = rng(seed)
    units = random.normal(size=(2, n)) + np.array([[denominator / 2], [denominator]])
    weights = random.multinomial(n, np.full(n, 1 / n), 1000) / n
    return units.mean(axis=1), units @ weights.T


@pytest.mark.parametrize("denominator", [0.7, 5.0])
def test_the_joint_interval_covers_near_and_far_from_zero(denominator: float) -> None:
    held, naive = [], []
    for seed in range(300):
        (a, b), draws = means_of_units(seed, denominator)
        bounds = ratios.joint_interval(float(a), float(b), draws, 10, 9)
        held.append(bounds is None or bounds[0] <= 0.5 <= bounds[1])
        low, high = np.quantile(draws[0], [0.025, 0.975]) / b
        naive.append(low <= 0.5 <= high)
    assert np.mean(held) > 0.92
    assert np.mean(naive) < np.mean(held), "the control: the denominator taken as known"


def test_a_denominator_of_0_has_no_bounds() -> None:
    draws = rng().normal(size=(2, 500))
    assert ratios.joint_interval(1.0, 0.0, draws, 8, 7) is None
    assert ratios.joint_interval(1.0, 0.05, draws, 8, 7) is None
    assert ratios.joint_interval(0.0, 0.0, np.zeros((2, 500)), 8, 7) is None


def test_without_noise_the_bounds_are_the_ratio() -> None:
    draws = np.stack([np.full(100, 2.0), np.full(100, 8.0)])
    assert ratios.joint_interval(2.0, 8.0, draws, 8, 7) == pytest.approx((0.25, 0.25))


def test_far_from_0_the_joint_interval_of_normal_draws_is_students() -> None:
    x = rng(4).normal(size=8)
    normal = x.mean() + scipy_stats.norm.ppf((np.arange(20_001) + 0.5) / 20_001) * x.std() / np.sqrt(8)
    bounds = ratios.joint_interval(x.mean(), 4.0, np.stack([normal, np.full(20_001, 4.0)]), 8, 7)
    student = scipy_stats.ttest_1samp(x, 0).confidence_interval()
    assert bounds == pytest.approx((student.low / 4, student.high / 4), abs=1e-3)


@pytest.mark.parametrize(("errors", "near"), [(2.9, True), (3.1, False)])
def test_within_three_standard_errors_of_0_the_bounds_are_fiellers(errors: float, near: bool) -> None:
    draws = rng(5).normal(size=(2, 400))
    covariance = np.cov(draws) * 8 / 7  # a draw of 8 units varies by 7/8 of what their mean does
    whole = errors * np.sqrt(covariance[1, 1])
    draws += np.array([[0.5 * whole], [whole]])
    bounds = ratios.joint_interval(0.5 * whole, whole, draws, 8, 7)
    fieller = ratios.fieller(0.5 * whole, whole, covariance, 7)
    assert fieller is not None
    assert (bounds == pytest.approx(fieller, rel=1e-9)) == near
    t2 = scipy_stats.t.isf(0.025, 7) ** 2
    for r in fieller:
        spread = covariance[0, 0] - 2 * r * covariance[0, 1] + r**2 * covariance[1, 1]
        assert (0.5 * whole - r * whole) ** 2 == pytest.approx(t2 * spread)


def test_fieller_covers_small_denominators_and_is_unbounded_at_zero() -> None:
    covariance = np.array([[1.0, 0.3], [0.3, 1.0]])
    drawn = rng(2).multivariate_normal([2.0, 4.0], covariance, 1000)
    bounds = [ratios.fieller(float(a), float(b), covariance, 10_000) for a, b in drawn]
    held = [b is None or b[0] <= 0.5 <= b[1] for b in bounds]
    assert abs(np.mean(held) - 0.95) < 0.025
    assert ratios.fieller(1.0, 0.1, covariance, 10) is None


def test_the_ratio_interval_is_a_t_interval_when_denominators_are_equal() -> None:
    x = rng(3).normal(size=(4, 2))
    low, high = ratios.ratio_interval(x, np.ones(4))
    expected = scipy_stats.ttest_1samp(x, 0).confidence_interval()
    np.testing.assert_allclose(low, expected.low)
    np.testing.assert_allclose(high, expected.high)


def test_where_the_ratio_has_no_spread_fieller_gives_the_ratio_whatever_the_rounding() -> None:
    for ratio in rng().uniform(-2, 2, 200):
        covariance = 0.04 * np.array([[ratio**2, ratio], [ratio, 1.0]])
        bounds = ratios.fieller(0.7 * ratio, 0.7, covariance, 10)
        assert bounds == pytest.approx((ratio, ratio), abs=1e-6)


@pytest.mark.parametrize("nothing", [0.0, 1e-17, -1e-17])
def test_a_draw_that_may_be_0_leaves_no_interval(nothing: float) -> None:
    draws = np.array([[2.0], [8.0]]) + 0.1 * rng().normal(size=(2, 500))
    assert ratios.joint_interval(2.0, 8.0, draws, 8, 7) is not None
    draws[1, 3] = nothing
    assert ratios.joint_interval(2.0, 8.0, draws, 8, 7) is None
