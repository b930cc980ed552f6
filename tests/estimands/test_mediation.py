"""M: Shapley's laws, planted paths, and a closed gate wherever the paths are not shown."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from selfrep.errors import SelfrepError
from selfrep.estimands.mediation import PATCHED, _shapley, carrying, mediation

Array = np.ndarray
FAST: dict[str, Any] = {"n_flips": 500, "n_bootstrap": 300}
NUMBERS = ("estimate", "low", "high", "p", "null")
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
    for name in ("estimate", "low", "high"):
        assert float(out[name]) == pytest.approx(p / (p + s))
    assert float(out.total) == pytest.approx(p + s + 0.5 * np.sign(p))
    assert bool(out.gate)
    assert float(out.p) == (1.0 if p == s else out.attrs["smallest_p"])
    assert out.attrs["n_labelings"] == 128
    np.testing.assert_allclose(out.cue_effect, [p, p + 0.5 * np.sign(p)])
    np.testing.assert_allclose(out.stakes_effect, [s, s + 0.5 * np.sign(p)])
    assert float(out.cue_by_stakes) == pytest.approx(0.5 * np.sign(p))


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
    assert not bool(out.gate)
    assert "through S does not exceed" in str(out.reason.values)
    assert np.isnan(out[list(NUMBERS)].to_array()).all()
    shown = mediation(organism(3.0, 0.0), proven=["S"], **FAST).squeeze()
    assert float(shown.estimate) == pytest.approx(1)
    other = mediation(organism(3.0, 0.0), proven=["P"], **FAST).squeeze()
    assert not bool(other.gate), "the control: proof of the other"


def test_what_random_subspaces_do_as_well_is_not_identified() -> None:
    out = mediation(organism(0.5, 0.5, leak=2.0), **FAST).squeeze()
    assert "random subspaces" in str(out.reason.values)
    assert float(out.p_random.min()) > 0.05
    loud = mediation(organism(0.5, 0.5, leak=0.01), **FAST).squeeze()
    assert bool(loud.gate), "the control"
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
    assert all(bool(r.gate) for r in runs)
    assert np.mean([float(r.low) <= 0.5 <= float(r.high) for r in runs]) > 0.85
    assert np.mean([float(r.p) <= 0.05 for r in runs]) < 0.2


def test_incomplete_runs_are_refused() -> None:
    whole = organism(2.0, 1.0)
    with pytest.raises(SelfrepError, match=r"smallest p they could give is 0\.0909"):
        mediation(whole.isel(draw=slice(11)), **FAST)
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


def proofs(
    share: float, *, leak: float = 0.02, total: float = 4.0, n_pairs: int = 4, spread: float = 0.1
) -> xr.Dataset:
    """P moves the answers by this share of what its variable does, random subspaces by about `leak`; S: not asked."""
    rng = np.random.default_rng(0)
    whole = total + spread * rng.normal(size=n_pairs)
    out = np.full((2, 40, n_pairs, 3), np.nan)
    out[0, :, :, 0], out[0, :, :, 1] = 0, whole
    out[0, 0, :, 2], out[0, 1:, :, 2] = share * whole, leak * rng.normal(size=(39, 1)) * whole
    coords = {"mediator": ["P", "S"], "draw": np.arange(-1, 39), "run": ["absent", "present", "exchanged"]}
    return xr.Dataset({"log_odds": (("mediator", "draw", "pair", "run"), out)}, coords=coords)


def test_a_subspace_is_shown_where_its_exchange_moves_what_its_variable_moves() -> None:
    assert carrying(proofs(0.9)) == ("P",)
    assert carrying(proofs(0.9, total=-4.0)) == ("P",)
    assert carrying(proofs(0.2)) == (), "too little of it"
    assert carrying(proofs(-0.9)) == (), "the other way"
    assert carrying(proofs(0.5, leak=2.0)) == (), "no more than random ones"
    assert carrying(proofs(0.9, total=0.05, spread=1.0)) == (), "the variable moves nothing"
    assert carrying(proofs(0.9, n_pairs=1)) == (), "one pair has no spread"
    with pytest.raises(SelfrepError, match="at least 19 random ones; got 9"):
        carrying(proofs(0.9).isel(draw=slice(10)))
