"""A contrast of two sides is that of its families: by hand, resampled, relabelled; and silent where they are few."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import synthetic

from selfrep.stats.contrasts import Contrast
from selfrep.stats.families import Families

Array = np.ndarray


def contrast(family: list[str], side: list[str], k: int = 2, n: int = 4000) -> Contrast:
    """Personas in k paraphrases each, row by row."""
    families = Families.of(np.repeat(np.arange(len(family)), k), family, side, ("x", "y"))
    return Contrast.of(families, 10_000, n, np.random.default_rng(0))


def test_families_count_once_however_many_members_they_have() -> None:
    found = contrast(["a", "a", "a", "b", "c", "d"], ["x"] * 4 + ["y"] * 2)
    rows = np.repeat([3.0, 4.0, 5.0, 8.0, 1.0, 2.0], 2)
    assert found.shift(rows) == pytest.approx((4 + 8) / 2 - 1.5)
    assert found.attributes()["n_families"] == [2, 2]
    assert found.attributes()["n_personas"] == [4, 2]


def test_p_is_that_of_all_labelings_of_families() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=8) + np.repeat([1.5, 0.0], 4)
    found = contrast(list("abcdefgh"), ["x"] * 4 + ["y"] * 4)
    null = [abs(values[list(c)].mean() - np.delete(values, list(c)).mean()) for c in combinations(range(8), 4)]
    p, high = found.test(np.repeat(values, 2))
    assert p == pytest.approx(np.mean(np.array(null) >= null[0] - 1e-9))
    assert high == pytest.approx(np.quantile(null, 0.95), rel=0.05)


def test_one_persona_among_those_that_answer_nothing_ties_with_every_labeling_whatever_the_rounding() -> None:
    found, values = contrast(list("abcdefgh"), ["x"] * 4 + ["y"] * 4), np.repeat([2.0] + [0.0] * 7, 2)
    for seed in range(20):
        rounding = 4e-7 * np.random.default_rng(seed).choice([-1.0, 1.0], 16)
        assert found.test(values + rounding)[0] == 1, seed
    assert found.test(values + np.repeat([0.0] * 4 + [-0.1] * 4, 2))[0] < 1, "the control"


def test_the_interval_is_that_of_families_drawn_anew_with_welchs_degrees_of_freedom() -> None:
    values = list(range(12))
    found = contrast([f"f{i:02}" for i in range(16)], ["x"] * 12 + ["y"] * 4, n=20_000)
    bounds = found.interval(np.repeat([*map(float, values), *[0.0] * 4], 2))
    np.testing.assert_allclose(bounds, synthetic.bootstrap_bounds(values, 4, 11), atol=1.5 / 12)


def test_a_share_is_the_ratio_of_two_shifts() -> None:
    rng = np.random.default_rng(2)
    whole = np.repeat(4.0 * (np.arange(12) < 6) + 0.1 * rng.normal(size=12), 2)
    part = 0.25 * whole + 0.01 * rng.normal(size=24)
    found = contrast([f"f{i:02}" for i in range(12)], ["x"] * 6 + ["y"] * 6)
    draws = np.stack([found.draws @ part, found.draws @ whole])
    low, high = found.share(found.shift(part), found.shift(whole), draws, whole, parts=part) or (np.nan, np.nan)
    assert low < 0.25 < high < low + 0.05
    nothing = np.repeat(rng.normal(size=12), 2)
    empty = np.stack([found.draws @ part, found.draws @ nothing])
    assert found.share(found.shift(part), found.shift(nothing), empty, nothing, parts=part) is None


@pytest.mark.parametrize(("n", "bounded", "tested"), [(2, False, False), (3, False, False), (4, True, True)])
def test_too_few_families_have_no_interval_and_no_p(n: int, bounded: bool, tested: bool) -> None:
    found = contrast([f"f{i}" for i in range(2 * n)], ["x"] * n + ["y"] * n)
    rows = np.arange(4.0 * n)
    assert np.isfinite(found.shift(rows))
    assert np.isfinite(found.interval(rows)).all() == bounded
    assert np.isfinite(found.test(rows)).all() == tested
    assert bool(found.attributes()["unbounded"]) != bounded
