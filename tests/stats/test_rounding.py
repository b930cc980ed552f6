"""What is rounding beside the numbers it comes from, at any size of these numbers."""

from __future__ import annotations

import numpy as np
import pytest

from selfrep.stats.rounding import negligible, unresolved


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_a_sum_that_cancels_is_rounding_in_any_order_and_a_thousandth_is_not(size: float) -> None:
    rng = np.random.default_rng(0)
    x = size * rng.normal(size=1000)
    terms = np.concatenate([x, -x])
    sums = np.array([sum(rng.permutation(terms)) for _ in range(9)])
    assert sums.any(), "the control: the sums are not exactly 0"
    assert negligible(sums, size).all()
    assert negligible(sums**2, size**2, degree=2).all()
    for degree in (1, 2):
        assert not negligible((1e-3 * size) ** degree, size**degree, degree=degree)


def test_nothing_is_negligible_beside_nothing_and_nan_never_is() -> None:
    assert negligible(0.0, 0.0)
    assert not negligible(1e-300, 0.0)
    assert negligible(np.array([np.nan, 0.0]), 1.0).tolist() == [False, True]


def test_what_half_precision_cannot_tell_float32_can() -> None:
    differences = np.array([1e-6, 1e-3, 3e-2, 1.0, np.nan])
    told = {dtype: (~unresolved(differences, 2.0, dtype)).tolist() for dtype in ("float32", "float16", "bfloat16")}
    assert told == {
        "float32": [False, True, True, True, True],
        "float16": [False, False, True, True, True],
        "bfloat16": [False, False, False, True, True],
    }
    assert unresolved(1e-3, 1e3, "float32")  # beside numbers of a thousand
