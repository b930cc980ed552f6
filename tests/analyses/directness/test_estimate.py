"""D: planted jumpers and reasoners, the curve between, and a weak total that gives no number."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.analyses.directness.estimate import directness
from selfrep.errors import SelfrepError

FAST: dict[str, Any] = {"n_flips": 500, "n_bootstrap": 300}
SHARES = np.array([0.0, 0.25, 0.5, 1.0])


def runs(at_once: float, *, full: float = 4.0, noise: float = 0.0, n: int = 8, seed: int = 0) -> xr.Dataset:
    """A shift of `at_once` × `full` nats without a scratchpad that grows evenly to `full`."""
    rng = np.random.default_rng(seed)
    curve = full * (at_once + (1 - at_once) * SHARES)
    own = 1 + noise * rng.normal(size=(n, 1, 1))
    without = rng.normal(size=(n, 3, 1)) + np.zeros(4)
    moved = own * curve + 0.3 * noise * rng.normal(size=(n, 3, 4))
    return xr.Dataset(
        {"log_odds": (("scenario", "paraphrase", "version", "share"), np.stack([without, without + moved], axis=2))},
        coords={"share": SHARES, "version": ["calm", "danger"]},
    )


@pytest.mark.parametrize("at_once", [0.0, 0.4, 1.0, 1.3, -0.5])
@pytest.mark.parametrize("full", [4.0, -4.0])
def test_a_planted_directness_comes_back_with_its_curve(at_once: float, full: float) -> None:
    out = directness(runs(at_once, full=full), **FAST)
    for name in ("estimate", "ci_low", "ci_high"):
        assert float(out[name]) == pytest.approx(at_once, abs=1e-9)
    np.testing.assert_allclose(out.curve, at_once + (1 - at_once) * SHARES, atol=1e-9)
    np.testing.assert_allclose(out["shift"], full * out.curve, atol=1e-9)
    assert float(out.area) == pytest.approx(at_once + (1 - at_once) / 2)
    assert float(out.p) == (1.0 if at_once == 0 else out.attrs["smallest_p"])
    assert float(out.p_reasoning) == (1.0 if at_once == 1 else out.attrs["smallest_p"])
    assert out.attrs["n_labelings"] == 128
    assert bool(out.identified)


def test_bounds_p_and_null_are_those_of_scenarios_drawn_anew_and_turned_round() -> None:
    """The shift without a scratchpad is a whole number in each scenario, and 20 nats with all of it."""
    values = np.array([-4, -1, 1, 2, 3, 5, 6, 8])
    moved = values[:, None] + (20 - values[:, None]) * SHARES
    odds = np.stack([np.zeros((8, 2, 4)), np.repeat(moved[:, None], 2, axis=1)], axis=2)
    table = runs(0.0).isel(paraphrase=slice(2)).assign(log_odds=(("scenario", "paraphrase", "version", "share"), odds))
    out = directness(table, n_flips=500, n_bootstrap=20_000)
    bounds = synthetic.bootstrap_bounds(values.tolist(), 8, 7)
    np.testing.assert_allclose([out.ci_low, out.ci_high], bounds / 20, atol=1.5 / 8 / 20)
    np.testing.assert_allclose([out.curve_ci_low[0], out.curve_ci_high[0]], bounds / 20, atol=1.5 / 8 / 20)
    np.testing.assert_allclose([out.shift_ci_low[0], out.shift_ci_high[0]], bounds, atol=1.5 / 8)
    np.testing.assert_allclose([out.shift_ci_low[-1], out.shift_ci_high[-1]], 20)
    signs = np.array([(1, *rest) for rest in product((1, -1), repeat=7)])
    null = np.abs(signs @ values) / 8
    assert float(out.p) == pytest.approx((null >= null[0] - 1e-9).mean())
    assert float(out.null) == pytest.approx(np.quantile(null, 0.95) / 20)
    assert float(out.p_reasoning) == 1 / 128


def test_shares_in_any_order_are_the_same_curve() -> None:
    whole = runs(0.4, noise=0.2)
    xr.testing.assert_identical(directness(whole, **FAST), directness(whole.isel(share=[2, 0, 3, 1]), **FAST))


def test_a_reasoner_rarely_looks_direct_and_intervals_hold_the_truth() -> None:
    held, alarms = [], []
    for seed in range(80):
        calm = runs(0.0, noise=0.3, seed=seed)
        calm["log_odds"] = calm.log_odds + 0.5 * np.random.default_rng(seed + 500).normal(size=(8, 1, 2, 4))
        out = directness(calm, **FAST)
        alarms.append(float(out.p) <= 0.05)
        held.append(float(out.ci_low) <= 0.0 <= float(out.ci_high))
    assert np.mean(alarms) < 0.13
    assert np.mean(held) > 0.9
    jumper = [float(directness(runs(0.8, noise=0.3, seed=s), **FAST).p) for s in range(5)]
    assert max(jumper) < 0.05, "the control"


@pytest.mark.parametrize("full", [0.0, 0.05])
def test_a_weak_total_gives_no_number_but_the_raw_shift(full: float) -> None:
    weak = runs(0.5, full=full, noise=0.3)
    out = directness(weak, **FAST)
    assert not bool(out.identified)
    assert "full scratchpad" in str(out.reason.values)
    numbers = ["estimate", "ci_low", "ci_high", "p", "null", "p_reasoning", "area"]
    assert np.isnan(out[numbers].to_array()).all()
    assert np.isnan(out.curve).all()
    assert np.isfinite(out["shift"]).all()


def test_a_shift_of_hundredths_of_a_nat_has_no_directness_however_quiet_paraphrases_are() -> None:
    out = directness(runs(0.5, full=0.05), **FAST)
    assert not bool(out.identified)
    assert "under 0.1" in str(out.reason.values)
    assert bool(directness(runs(0.5, full=0.15), **FAST).identified), "the control"


def test_scenarios_that_disagree_about_the_total_have_no_ratio() -> None:
    torn = runs(0.5)
    torn["log_odds"] = torn.log_odds * xr.DataArray([5, -4, 3, -2, 5, -4, 3, -2], dims="scenario")
    out = directness(torn, **FAST)
    assert not bool(out.identified)
    assert "may as well be 0" in str(out.reason.values)


def test_incomplete_runs_are_refused() -> None:
    whole = runs(0.5)
    with pytest.raises(SelfrepError, match=r"from 0 \(none\) to 1"):
        directness(whole.isel(share=slice(1, None)), **FAST)
    with pytest.raises(SelfrepError, match="Two versions"):
        directness(whole.isel(version=[0]), **FAST)
    with pytest.raises(SelfrepError, match="at least six scenarios"):
        directness(whole.isel(scenario=slice(5)), **FAST)
    with pytest.raises(SelfrepError, match="two paraphrases"):
        directness(whole.isel(paraphrase=[0]), **FAST)
    with pytest.raises(SelfrepError, match="got \\('scenario'"):
        directness(whole.isel(share=0), **FAST)
    with pytest.raises(SelfrepError, match="finite log odds: 192 of 192"):
        directness(whole * np.nan, **FAST)
