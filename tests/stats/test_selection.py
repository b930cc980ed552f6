"""Selection: halves that share nobody, luck that does not survive, and what is there does."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.analyses.separation.estimate import separation
from selfrep.errors import SelfrepError
from selfrep.stats.selection import halves, reliability, select_and_test

Array = np.ndarray
NAMES = synthetic.names((8, 9))
FAST = partial(separation, n_permutations=200, n_bootstrap=20)


def acts(gap: float, seed: int = 0, places: int = 6) -> xr.Dataset:
    """Personas whose sides differ at the fourth place only."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(17, 1, 1, places, 16)) + 0.3 * rng.normal(size=(17, 2, 1, places, 16))
    x[:8, :, :, 3, 0] += gap
    return synthetic.acts({"you": x, "user": x}, NAMES)


def test_halves_share_nobody_and_have_both_sides_evenly() -> None:
    dealt = halves(acts(0.0))
    assert sorted(dealt.choosing + dealt.testing) == sorted(NAMES)
    for half in (dealt.choosing, dealt.testing):
        sides = [synthetic.side(name) for name in half]
        assert sides.count("ai") == 4
        assert sides.count("human") in (4, 5)
    assert halves(acts(0.0)) == dealt
    assert halves(acts(0.0), seed=1) != dealt


def test_families_stay_together_and_the_self_is_dealt_to_nobody() -> None:
    data = acts(0.0)
    data = data.assign_coords(
        family=("prompt", [{"ai1": "ai0", "human8": "human7"}.get(name, name) for name in data.persona.values.tolist()])
    )
    for seed in range(20):
        dealt = halves(data, fewest=3, seed=seed)
        for pair in (("ai0", "ai1"), ("human7", "human8")):
            assert set(pair) <= set(dealt.choosing) or set(pair) <= set(dealt.testing)
    with pytest.raises(SelfrepError, match=r"got {'ai': 7}"):  # the control: nine personas in seven families
        halves(data)
    own = data.assign_coords(side=("prompt", np.where(data.persona == "ai2", "", data.side)))
    dealt = halves(own, fewest=3)
    assert "ai2" not in dealt.choosing + dealt.testing


def test_neutral_prompts_are_in_both_halves() -> None:
    table = synthetic.behaviour({"you": np.zeros((17, 2, 1))}, NAMES)
    dealt = halves(table)
    assert {int((dealt.of(table, h).condition == "neutral").sum()) for h in (dealt.choosing, dealt.testing)} == {2}


def test_the_planted_cell_is_chosen_and_stands_the_test() -> None:
    out = select_and_test(acts(6.0), FAST)
    assert "'position': -3" in out.attrs["chosen"]
    assert float(out.p) < 0.05
    assert set(out.attrs["choosing"]).isdisjoint(out.attrs["testing"])
    assert float(out.reliability) > 0.8


@pytest.mark.slow
def test_luck_does_not_survive_the_other_half() -> None:
    honest, greedy = [], []
    for seed in range(40):
        data = acts(0.0, seed)
        out = select_and_test(data, FAST, seed=seed)
        honest.append((float(out.estimate), float(out.p)))
        whole = FAST(data)
        best = int(np.argmax(whole.estimate.values))
        greedy.append((float(whole.estimate.values.ravel()[best]), float(whole.p.values.ravel()[best])))
    (s, p), (greedy_s, greedy_p) = (np.array(x).T for x in (honest, greedy))
    assert abs(s.mean()) < 3 * s.std() / np.sqrt(len(s))
    assert (p <= 0.05).mean() < 0.15
    assert greedy_s.mean() > 3 * greedy_s.std() / np.sqrt(len(greedy_s)), (
        "the control: the same data chooses and judges"
    )
    assert (greedy_p <= 0.05).mean() > (p <= 0.05).mean()


def test_reliability_is_stepped_up_and_missing_where_nothing_varies() -> None:
    rng = np.random.default_rng(0)
    truth, noise = rng.normal(size=20_000), rng.normal(size=(2, 20_000))
    a, b = (xr.DataArray(truth + e) for e in noise)
    assert reliability(a, b) == pytest.approx(2 / 3, abs=0.02)  # half maps correlate .5
    assert reliability(a, -b) < 0
    assert np.isnan(reliability(a, b * 0))
    assert reliability(a.where(a < 1), b) == reliability(a.where(a < 1).dropna("dim_0"), b[np.flatnonzero(a < 1)])


def test_too_few_personas_for_halves_and_maps_without_numbers_are_refused() -> None:
    with pytest.raises(SelfrepError, match=r"needs 8 families .*p = 0\.029\); got {'human': 7}"):
        halves(acts(0.0).isel(prompt=~np.isin(acts(0.0).persona.to_numpy(), ["human0", "human1"])))
    blank = acts(0.0) * np.nan
    with pytest.raises(SelfrepError, match="nothing to choose"):
        select_and_test(blank, FAST)


def test_a_map_that_varies_by_rounding_has_no_reliability() -> None:
    flat, other = (xr.DataArray(np.random.default_rng(k).normal(size=9)) for k in (0, 1))
    assert np.isfinite(reliability(flat, other))
    assert np.isfinite(reliability(1e-6 * flat, 1e6 * other)), "the control: small, but varied"
    for half in (xr.full_like(flat, 0.3), 0.3 + 1e-16 * flat):
        assert np.isnan(reliability(half, other))
        assert np.isnan(reliability(other, half))
