"""The onset: from where on a curve stays at or above half of its final value, and when nobody can say."""

from __future__ import annotations

import numpy as np
import pytest

from selfrep.analyses.divergence.onset import crossings, onset, stays_above_half

DEPTH = np.linspace(0, 1, 5)


def drawn(curve: list[float], noise: float = 0.0, n: int = 400) -> np.ndarray:
    """A curve, and bootstrap draws of it."""
    rng = np.random.default_rng(0)
    draws = np.array(curve)[:, None] + noise * rng.normal(size=(len(curve), n))
    return np.concatenate([np.array(curve)[:, None], draws], axis=1)


@pytest.mark.parametrize(
    ("curve", "at", "times"),
    [
        ([0.0, 0.0, 0.5, 0.8, 1.0], 0.5, 1),
        ([0.0, 0.9, 0.4, 0.8, 1.0], 0.75, 2),  # the first crossing is not where it stays
        ([1.0, 1.0, 1.0, 1.0, 1.0], 0.0, 1),
        ([0.0, 3.0, 2.0, 0.4, 1.0], 1.0, 2),
    ],
)
def test_it_is_where_the_curve_stays_above_half(curve: list[float], at: float, times: int) -> None:
    assert DEPTH[stays_above_half(np.array(curve)).argmax()] == at
    assert int(crossings(np.array(curve))) == times
    numbers, reason = onset(DEPTH, drawn(curve, 1e-6), 8)
    assert not reason
    assert numbers["onset"] == at
    assert numbers["onset_crossings"] == float(times > 1)


def test_its_interval_is_wide_where_the_curve_is_flat() -> None:
    steep, _ = onset(DEPTH, drawn([0.0, 0.0, 0.9, 1.0, 1.0], 0.05), 8)
    flat, _ = onset(DEPTH, drawn([0.46, 0.5, 0.52, 0.56, 1.0], 0.05), 8)
    assert steep["onset_ci_low"] == steep["onset_ci_high"] == 0.5
    assert flat["onset_ci_low"] == 0.0
    assert flat["onset_ci_high"] == 1.0
    assert steep["onset_crossings"] == 0 < 0.2 < flat["onset_crossings"]


def test_there_is_none_without_a_final_value_that_is_surely_above_0() -> None:
    for curve, units, reason in (
        (drawn([0.0, 0.5, 1.0, 1.0, 1.0], 0.5), 8, "includes 0"),
        (drawn([0.0, 0.5, 1.0, 1.0, 1.0], 0.3), 4, "includes 0"),  # no more draws, but fewer units behind them
        (drawn([0.0, 0.5, 1.0, 1.0, 1.0], 0.01), 0, "no interval"),
        (drawn([0.0, np.nan, 1.0, 1.0, 1.0], 0.01), 8, "not measured at every layer"),
    ):
        numbers, why = onset(DEPTH, curve, units)
        assert numbers == {}
        assert reason in why
    assert onset(DEPTH, drawn([0.0, 0.5, 1.0, 1.0, 1.0], 0.3), 8)[0], "the control: enough units"
    assert "several layers" in onset(DEPTH[:1], drawn([1.0]), 8)[1]
