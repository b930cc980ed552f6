"""CKA: what rotation and scale leave alone, and what chance does not buy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats.similarity import cka


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def rotation(d: int, seed: int = 0) -> np.ndarray:
    return scipy_stats.ortho_group.rvs(d, random_state=seed)


def biased(x: np.ndarray, y: np.ndarray) -> float:
    k, m = ((z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y))
    return float((k * m).sum() / np.sqrt((k**2).sum() * (m**2).sum()))


def test_what_agrees_up_to_rotation_scale_and_shift_is_alike() -> None:
    x = normal(0, 30, 12)
    y = 3 * x @ rotation(12) + 5
    assert cka(x, y) == pytest.approx(1)


def test_unrelated_clouds_in_many_dimensions_are_not_alike() -> None:
    pairs = [(normal(s, 16, 400), normal(s + 999, 16, 400)) for s in range(100)]
    values = np.array([cka(x, y) for x, y in pairs])
    assert abs(values.mean()) < 3 * values.std() / 10
    assert (values < 0).any()
    assert np.mean([biased(x, y) for x, y in pairs]) > 0.9, "the control: plain CKA calls them the same"


def test_debiased_and_plain_cka_agree_where_rows_abound() -> None:
    x = normal(0, 2000, 4)
    y = x @ normal(1, 4, 4) + normal(2, 2000, 4)
    assert cka(x, y) == pytest.approx(biased(x, y), abs=0.01)
    assert cka(x, y) == pytest.approx(cka(y, x))


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(SelfrepError, match="same rows, at least 4; got 3 and 3"):
        cka(normal(0, 3, 2), normal(1, 3, 2))
    with pytest.raises(SelfrepError, match="got 5 and 6"):
        cka(normal(0, 5, 2), normal(1, 6, 2))
    with pytest.raises(SelfrepError, match="does not vary"):
        cka(np.ones((6, 2)), normal(1, 6, 2))


@pytest.mark.parametrize("n", range(4, 20))
def test_rows_that_are_all_equally_apart_have_nothing_to_compare(n: int) -> None:
    """Nothing is left of their products but the mean, and rounding."""
    with pytest.raises(SelfrepError, match="hardly does"):
        cka(np.eye(n), normal(0, n, 3))
