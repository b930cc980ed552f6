"""M: Shapley's laws, planted paths, and a closed gate wherever the paths are not shown."""

from __future__ import annotations

from itertools import product
from math import factorial
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from selfrep.analyses.mediation.estimate import NUDGE, PATCHED, _shapley, mediation
from selfrep.errors import SelfrepError

Array = np.ndarray
FAST: dict[str, Any] = {"n_flips": 500, "n_bootstrap": 300}
NUMBERS = ("estimate", "ci_low", "ci_high", "p", "null")
DIMS = ("donor", "draw", "scenario", "paraphrase", "cue", "stakes", "patched")


def organism(
    p: float,
    s: float,
    *,
    direct: float = 0.0,
    crossed: float = 0.0,
    n: int = 8,
    noise: float = 0.0,
    leak: float = 0.05,
    seed: int = 0,
    donors: tuple[str, ...] = ("both",),
    n_random: int = 39,
) -> xr.Dataset:
    """A behaviour of p · P + s · S + crossed · P · S + direct · cue · stakes, where P follows the cue and S the stakes.

    Random subspaces move it by about `leak` nats.
    """
    rng = np.random.default_rng(seed)
    gain = 1 + noise * rng.normal(size=(n, 1))
    luck = 0.1 * noise * rng.normal(size=(len(donors), n_random + 1, n, 2, 2, 2, 4))
    out = np.zeros(luck.shape)
    for d, donor in enumerate(donors):
        for cue, stakes in np.ndindex(2, 2):
            other = (cue ^ (donor != "stakes"), stakes ^ (donor != "cue"))
            for j, patched in enumerate(PATCHED):
                here = other[0] if patched in ("P", "both") else cue
                there = other[1] if patched in ("S", "both") else stakes
                out[d, 0, ..., cue, stakes, j] = gain * (p * here + s * there + crossed * here * there)
                out[d, 1:, ..., cue, stakes, j] = gain * (p * cue + s * stakes + crossed * cue * stakes)
                if patched != "none":
                    out[d, 1:, ..., cue, stakes, j] += leak * rng.normal(size=(n_random, 1, 1))
            out[d, ..., cue, stakes, :] += (direct * gain * cue * stakes)[..., None]
    coords = {"donor": list(donors), "draw": np.arange(-1, n_random), "cue": [0, 1], "stakes": [0, 1]}
    return xr.Dataset({"log_odds": (DIMS, out + luck)}, coords=coords | {"patched": list(PATCHED)})


@settings(max_examples=25)
@given(st.integers(0, 999))
def test_shapley_is_efficient_symmetric_and_gives_nothing_to_the_idle(seed: int) -> None:
    odds = np.random.default_rng(seed).normal(size=(3, 2, 2, 2, 4))
    phi = _shapley(odds, "both")
    np.testing.assert_allclose(phi[:3].sum(axis=0), odds[:, :, 1, 1, 0] - odds[:, :, 0, 0, 0])
    swapped = _shapley(odds[..., [0, 2, 1, 3]], "both")
    np.testing.assert_allclose(swapped[[1, 0, 2, 3]], phi)
    idle = odds.copy()
    idle[..., 1], idle[..., 3] = idle[..., 0], idle[..., 2]  # P changes nothing in any world
    np.testing.assert_allclose(_shapley(idle, "both")[0], 0, atol=1e-12)


def test_shapley_is_the_weighted_sum_over_coalitions() -> None:
    """The textbook formula, on the eight worlds named one by one."""
    odds = np.random.default_rng(0).normal(size=(1, 1, 2, 2, 4))
    low, high = odds[0, 0, 0, 0], odds[0, 0, 1, 1]
    world = {
        "": low[0], "P": low[1], "S": low[2], "PS": low[3],
        "D": high[3], "DP": high[2], "DS": high[1], "DPS": high[0],
    }  # fmt: skip
    for i, player in enumerate("PSD"):
        value = 0.0
        for coalition in (c for c in world if player not in c):
            weight = factorial(len(coalition)) * factorial(2 - len(coalition)) / 6
            value += weight * (world["".join(sorted(coalition + player))] - world[coalition])
        assert _shapley(odds, "both")[i, 0, 0] == pytest.approx(value)


@pytest.mark.parametrize(("p", "s"), [(3.0, 1.0), (1.0, 1.0), (-1.0, -4.0)])
def test_planted_paths_come_back(p: float, s: float) -> None:
    out = mediation(organism(p, s, direct=0.5 * np.sign(p)), **FAST).squeeze()
    np.testing.assert_allclose(out.phi, [p, s, 0.5 * np.sign(p)], atol=1e-9)
    for name in ("estimate", "ci_low", "ci_high"):
        assert float(out[name]) == pytest.approx(p / (p + s))
    assert float(out.total) == pytest.approx(p + s + 0.5 * np.sign(p))
    assert bool(out.identified)
    assert float(out.p) == (1.0 if p == s else out.attrs["smallest_p"])
    assert out.attrs["n_labelings"] == 128
    np.testing.assert_allclose(out.cue_effect, [p, p + 0.5 * np.sign(p)])
    np.testing.assert_allclose(out.stakes_effect, [s, s + 0.5 * np.sign(p)])
    assert float(out.cue_by_stakes) == pytest.approx(0.5 * np.sign(p))
    np.testing.assert_allclose(out.cells, [[0, s], [p, p + s + 0.5 * np.sign(p)]], atol=1e-9)


def test_what_only_both_together_do_is_credited_to_both_alike() -> None:
    out = mediation(organism(0.0, 0.0, crossed=4.0), **FAST).squeeze()
    np.testing.assert_allclose(out.phi, [2, 2, 0], atol=1e-9)
    assert float(out.interaction) == pytest.approx(4)
    assert float(out.estimate) == pytest.approx(0.5)


def test_a_donor_that_differs_in_the_cue_alone_shows_the_cue_path_alone() -> None:
    out = mediation(organism(3.0, 1.0, donors=("both", "cue", "stakes")), proven=["P", "S"], **FAST).squeeze()
    np.testing.assert_allclose(out.phi.sel(path="P"), [3, 3, 0], atol=1e-9)
    np.testing.assert_allclose(out.phi.sel(path="S"), [1, 0, 1], atol=1e-9)
    np.testing.assert_allclose(out.estimate, [0.75, 1, 0], atol=1e-9)


def test_a_pure_case_stands_only_if_the_idle_subspace_was_proven() -> None:
    out = mediation(organism(3.0, 0.0), **FAST).squeeze()
    assert not bool(out.identified)
    assert "through S does not exceed" in str(out.reason.values)
    assert np.isnan(out[list(NUMBERS)].to_array()).all()
    shown = mediation(organism(3.0, 0.0), proven=["S"], **FAST).squeeze()
    assert float(shown.estimate) == pytest.approx(1)
    other = mediation(organism(3.0, 0.0), proven=["P"], **FAST).squeeze()
    assert not bool(other.identified), "the control: proof of the other"


def test_what_random_subspaces_do_as_well_is_not_identified() -> None:
    out = mediation(organism(0.5, 0.5, leak=2.0), **FAST).squeeze()
    assert "random subspaces" in str(out.reason.values)
    assert float(out.p_random.min()) > 0.05
    loud = mediation(organism(0.5, 0.5, leak=0.01), **FAST).squeeze()
    assert bool(loud.identified), "the control"
    np.testing.assert_allclose(loud.p_random, 1 / 40)


def test_a_behaviour_that_comes_another_way_or_not_at_all_is_not_identified() -> None:
    another = mediation(organism(0.3, 0.3, direct=5.0), **FAST).squeeze()
    assert "another way" in str(another.reason.values)
    assert float(another.mediated) == pytest.approx(0.6 / 5.6)
    nothing = mediation(organism(0.0, 0.0, noise=0.5), **FAST).squeeze()
    assert "may as well be 0" in str(nothing.reason.values)
    assert np.isfinite(nothing[["total", "phi", "cue_by_stakes", "cue_by_stakes_p"]].to_array()).all()


def test_intervals_hold_the_truth_and_p_of_equal_paths_keeps_its_rate() -> None:
    runs = [mediation(organism(2.0, 2.0, noise=0.4, seed=s), **FAST).squeeze() for s in range(40)]
    assert all(bool(r.identified) for r in runs)
    assert np.mean([float(r.ci_low) <= 0.5 <= float(r.ci_high) for r in runs]) > 0.85
    assert np.mean([float(r.p) <= 0.05 for r in runs]) < 0.2


def linear(p: Any, s: Any, *, direct: float = 0.0, random: Array | None = None) -> xr.Dataset:
    """Paths of [scenario, paraphrase] nats, all of them additive; random subspaces of [draw, mediator] nats each."""
    p, s = np.broadcast_arrays(np.asarray(p, dtype=float), np.asarray(s, dtype=float))
    p, s = (x if x.ndim else np.full((8, 2), x) for x in (p, s))
    chance = np.zeros((19, 2)) if random is None else random
    out = np.zeros((1, len(chance) + 1, *p.shape, 2, 2, 4))
    for cue, stakes in np.ndindex(2, 2):
        for j, patched in enumerate(PATCHED):
            through = np.array(
                [(1 - 2 * cue) * (patched in ("P", "both")), (1 - 2 * stakes) * (patched in ("S", "both"))]
            )
            here = p * cue + s * stakes + direct * cue * stakes
            out[0, 0, :, :, cue, stakes, j] = here + p * through[0] + s * through[1]
            out[0, 1:, :, :, cue, stakes, j] = here + (chance @ through)[:, None, None]
    coords = {"donor": ["both"], "draw": np.arange(-1, len(chance)), "cue": [0, 1], "stakes": [0, 1]}
    return xr.Dataset({"log_odds": (DIMS, out)}, coords=coords | {"patched": list(PATCHED)})


LADDER = 0.01 * np.arange(1, 40) * (-1) ** np.arange(39)
"""Of 39 random subspaces: between the 37th and the 38th, at .371, lies the 95th percentile; half of them reach .2."""


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("p", "s", "idle"),
    [(0.375, 5.0, ""), (0.365, 5.0, "P"), (0.215, 5.0, "P"), (-0.375, 5.0, "P"), (5.0, 0.75, ""), (5.0, 0.73, "S")],
)
def test_the_bar_is_the_95th_percentile_of_random_subspaces(p: float, s: float, idle: str, sign: float) -> None:
    out = mediation(linear(sign * p, sign * s, random=np.stack([LADDER, 2 * LADDER[::-1]], axis=1)), **FAST).squeeze()
    np.testing.assert_allclose(out.phi, [sign * p, sign * s, 0], atol=1e-9)
    np.testing.assert_allclose(out.random, [0.371, 0.742])
    reached = [sum(0.01 * size * i >= own for i in range(1, 40)) for size, own in ((1, p), (2, s))]
    np.testing.assert_allclose(out.p_random, [(1 + n) / 40 for n in reached])
    assert bool(out.identified) == (not idle)
    assert f"through {idle} does not" in str(out.reason.values) or not idle


@pytest.mark.parametrize("share", [0.29, 0.31])
def test_three_tenths_of_the_total_must_pass_through_both(share: float) -> None:
    out = mediation(linear(1.0, 1.0, direct=2 / share - 2), **FAST).squeeze()
    assert float(out.mediated) == pytest.approx(share)
    assert bool(out.identified) == (share > 0.3)


def test_intervals_are_those_of_scenarios_drawn_anew() -> None:
    """Only P differs, by whole numbers of nats from scenario to scenario: an exact bootstrap distribution."""
    values = [10, 10, 11, 12, 14, 15, 15, 17]
    out = mediation(linear(np.repeat(values, 2).reshape(8, 2), 3.0), n_flips=500, n_bootstrap=20_000).squeeze()
    bounds = synthetic.bootstrap_bounds(values, 8, 7)
    step = 1.5 / 8
    np.testing.assert_allclose([out.phi_ci_low[0], out.phi_ci_high[0]], bounds, atol=step)
    np.testing.assert_allclose([out.cue_effect_ci_low[0], out.cue_effect_ci_high[1]], bounds, atol=step)
    np.testing.assert_allclose([out.total_ci_low, out.total_ci_high], bounds + 3, atol=step)
    np.testing.assert_allclose([out.ci_low, out.ci_high], bounds / (bounds + 3), atol=0.0028)
    np.testing.assert_allclose([out.phi_ci_low[1], out.phi_ci_high[1], out.stakes_effect_ci_low[0]], 3)


def refitted(runs: xr.Dataset, moved: Array, path: str = "P") -> xr.Dataset:
    """Refits beside, each of which moves one path by [refit] nats when all texts are drawn anew."""
    fits = []
    for number, nats in enumerate(moved, start=2):
        fit = runs.sel(draw=[-1]).assign_coords(draw=[-number])
        level = fit.cue if path == "P" else fit.stakes
        through = xr.where(fit.patched.isin([path, "both"]), NUDGE * nats, 0.0) * (1 - 2 * level)
        fits.append(fit.assign(log_odds=(fit.log_odds + through).transpose(*fit.log_odds.dims)))
    return xr.concat([runs, *fits], "draw")


def test_intervals_are_as_wide_as_refits_spread() -> None:
    """Scenarios that are all alike leave nothing else to vary."""
    moved = np.array([0.5, -0.5, 0.3, -0.7, 0.1, 0.2, -0.4, 0.6])
    given = linear(4.0, 2.0)
    out = mediation(refitted(given, moved), n_flips=500, n_bootstrap=20_000).squeeze()
    expected = norm.isf(synthetic.tail(8, 7)) * np.sqrt((moved**2).mean())
    np.testing.assert_allclose([4 - out.phi_ci_low[0], out.phi_ci_high[0] - 4], expected, rtol=0.1)
    np.testing.assert_allclose([out.phi_ci_low[1], out.phi_ci_high[1]], 2)
    np.testing.assert_allclose([out.total_ci_low, out.total_ci_high], 6), "what is exchanged changes no total"
    bounds = np.array([4 - expected, 4 + expected])
    np.testing.assert_allclose([out.ci_low, out.ci_high], bounds / (bounds + 2), atol=0.03)
    assert out.attrs["n_refits"] == 8
    plain = mediation(given, **FAST).squeeze()
    np.testing.assert_allclose([plain.ci_low, plain.ci_high], 2 / 3), "the control: subspaces that are given"


def test_refits_that_move_nothing_change_no_number() -> None:
    rng = np.random.default_rng(4)
    given = linear(*(3 + rng.normal(size=(8, 1)) + 0.1 * rng.normal(size=(8, 2)) for _ in range(2)))
    alone, beside = (
        mediation(runs, **FAST).drop_vars("null")  # a quantile of the same numbers, 41 of each
        for runs in (given, refitted(given, np.zeros(8)))
    )
    xr.testing.assert_allclose(alone, beside)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_intervals_hold_the_truth_where_the_fit_misses_it(share: float) -> None:
    """The weaker path moves too much or too little, in all scenarios alike: what only other texts would show."""
    rng = np.random.default_rng(11)
    held, given = np.empty((2, 40, 2))
    for k in range(40):
        weak, strong = (
            4 * part + 0.2 * rng.normal(size=(8, 1)) + 0.1 * rng.normal(size=(8, 2))
            for part in (min(share, 1 - share), max(share, 1 - share))
        )
        weak = weak + 0.5 * rng.normal()
        name, paths = ("P", (weak, strong)) if share <= 0.5 else ("S", (strong, weak))
        runs = linear(*paths)
        for rates, data in ((held, refitted(runs, 0.5 * rng.normal(size=8), name)), (given, runs)):
            out = mediation(data, proven=["P", "S"], **FAST).squeeze()
            rates[k] = float(out.ci_low) <= share <= float(out.ci_high), float(out.p) <= 0.05
    assert held.mean(axis=0)[0] >= 0.92
    assert given.mean(axis=0)[0] < 0.75, "the control: without refits"
    if share == 0.5:
        assert held.mean(axis=0)[1] <= 0.1
        assert given.mean(axis=0)[1] > 0.25, "the control"


def test_paraphrases_are_drawn_anew_within_their_scenario() -> None:
    """Paraphrases cancel within every scenario, so that all that is left to vary is which of them are drawn."""
    stray = np.tile([1.0, -1.0], (8, 1))
    out = mediation(linear(20 + stray, 3.0), n_flips=500, n_bootstrap=4000).squeeze()
    spread = np.sqrt(1 / 2 * (2 * 8 - 1) / 8**2)
    assert float(out.phi_ci_high[0] - out.phi_ci_low[0]) / 2 == pytest.approx(
        norm.isf(synthetic.tail(8, 7)) * spread, rel=0.1
    )


def test_p_and_null_are_those_of_all_flips_of_the_signs_of_scenarios() -> None:
    rng = np.random.default_rng(3)
    p, s = (mean + rng.normal(size=(8, 1)) + 0.1 * rng.normal(size=(8, 2)) for mean in (3, 2))
    out = mediation(linear(p, s), **FAST).squeeze()
    signs = np.array([(1, *rest) for rest in product((1, -1), repeat=7)])

    def flipped(values: Array) -> Array:
        return np.abs((signs * values.mean(axis=1)).mean(axis=1))

    null = flipped(p - s)
    assert float(out.p) == pytest.approx((null >= null[0] - 1e-9).mean())
    assert 1 / 128 < float(out.p) < 1
    assert float(out.null) == pytest.approx(np.quantile(null, 0.95) / (2 * (p + s).mean()))
    weak = linear(
        p - 3, s - 2.5, direct=0.6
    )  # too weak for an M; the effects before any patch have their p all the same
    found = mediation(weak, **FAST).squeeze()
    for name, values in (("cue_effect_p", p - 3), ("stakes_effect_p", s - 2.5)):
        for at, effect in enumerate((values, values + 0.6)):
            null = flipped(effect)
            assert float(found[name][at]) == pytest.approx((null >= null[0] - 1e-9).mean()), name
            assert 1 / 128 < (null >= null[0] - 1e-9).mean() < 1, name
    assert float(found.cue_by_stakes_p) == 1 / 128, "the same in every scenario"


def test_incomplete_runs_are_refused() -> None:
    whole = organism(2.0, 1.0)
    with pytest.raises(SelfrepError, match=r"smallest p they could give is 0\.0909"):
        mediation(whole.isel(draw=slice(11)), **FAST)
    mediation(whole.isel(draw=slice(20)), **FAST)  # the fitted ones and 19 random: enough for p = .05
    with pytest.raises(SelfrepError, match=r"got 18"):
        mediation(whole.isel(draw=slice(19)), **FAST)
    with pytest.raises(SelfrepError, match=r"at least six scenarios .*got 5"):
        mediation(whole.isel(scenario=slice(5)), **FAST)
    with pytest.raises(SelfrepError, match="missing: cue"):
        mediation(whole.isel(cue=0), **FAST)
    with pytest.raises(SelfrepError, match="The dim patched holds"):
        mediation(whole.isel(patched=slice(3)), **FAST)
    with pytest.raises(SelfrepError, match="of 'P' and 'S'"):
        mediation(whole, proven=["Q"], **FAST)
    broken = whole.copy(deep=True)
    broken.log_odds[0, 0, 0, 0, 0, 0, 0] = np.inf
    with pytest.raises(SelfrepError, match="finite log odds: 1 of"):
        mediation(broken, **FAST)


@pytest.mark.parametrize("rounding", [0.0, 1e-15])
def test_a_total_that_is_rounding_is_none(rounding: float) -> None:
    """Scenarios that go both ways: 0 on paper, and then nothing is a share of it and nothing is beyond chance."""
    runs = organism(2.1, 1.3)
    ways = xr.DataArray([1 + rounding, *[-1, 1] * 3, -1], dims="scenario")
    runs["log_odds"] = runs.log_odds * xr.where(runs.draw < 0, ways, 1.0)
    out = mediation(runs, **FAST).squeeze()
    assert (float(out.total) == 0) == (rounding == 0)
    assert "may as well be 0" in str(out.reason.values)
    assert np.isnan(float(out.mediated))
    np.testing.assert_array_equal(out.p_random, 1)
    assert (out.random > 0).all(), "random subspaces move something, whatever the total"
