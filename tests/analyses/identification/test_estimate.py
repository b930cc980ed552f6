"""I: planted z-scores come back with their sign, per persona, and echoes stand beside them."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from scipy.stats import binom, t

from selfrep.analyses.identification.estimate import identification
from selfrep.errors import SelfrepError
from selfrep.stats import resampling

Array = np.ndarray
FAST: dict[str, Any] = {"n_permutations": 500, "n_bootstrap": 300}
NAMES = synthetic.names((5, 5))
ITEMS = ("human?", "ai?", "maker")
SCALES = {"ai_human": ["ai?", "human?"], "maker": ["maker"]}
SIGNS = {"human?": -1}
PARAPHRASE = np.array([1.0, -1.0, 0.5, -0.5])[None, :, None]


def table(z: Array, user: Array | None = None, *, neutral: float = 0.7, mass: Any = 0.5, seed: int = 0) -> xr.Dataset:
    """z [persona, item] before signs, in units of the paraphrase's SD (which differs from item to item)."""
    scale = np.array([1.0, 4.0, 0.25])
    sd = resampling.within_sd(np.tile(PARAPHRASE[0, :, 0], 10), np.repeat(np.arange(10), 4)) * scale

    def answers(z: Array) -> Array:
        return neutral + (z * sd)[:, None] + PARAPHRASE * scale

    conditions = {
        "you": answers(z),
        "user": answers(z if user is None else user),
        "neutral": np.full((1, 3, 3), neutral),
    }
    return synthetic.behaviour(conditions, NAMES, ITEMS, mass=mass)


def planted(ai: float = 4.0, human: float = -2.0, maker: float = 3.0) -> Array:
    z = np.zeros((10, 3))
    side = np.repeat([ai, human], 5)
    z[:, 0], z[:, 1], z[:, 2] = -side, side, maker
    return z


def test_planted_scores_come_back_with_the_sign_of_the_subscale() -> None:
    out = identification(table(planted(), 0.5 * planted()), SCALES, SIGNS, **FAST)
    np.testing.assert_allclose(out.estimate.sel(subscale="ai_human"), np.repeat([4.0, -2.0], 5))
    np.testing.assert_allclose(out.estimate.sel(subscale="maker"), 3)
    np.testing.assert_allclose(out.user_is, 0.5 * out.estimate)
    np.testing.assert_allclose(out.bound, 0.5 * out.estimate)
    np.testing.assert_allclose(out.difference, [6, 0], atol=1e-9)
    assert float(out.p.sel(subscale="ai_human")) == out.attrs["smallest_p"] == 1 / 126
    assert float(out.p.sel(subscale="maker")) == 1
    assert bool(((out.ci_low < out.estimate) & (out.estimate < out.ci_high)).all())
    wrong = identification(table(planted()), SCALES, **FAST)
    np.testing.assert_allclose(wrong.estimate.sel(subscale="ai_human"), 0, atol=1e-9, err_msg="the control: no signs")


def test_an_echo_is_not_bound() -> None:
    out = identification(table(planted()), SCALES, SIGNS, **FAST)
    np.testing.assert_allclose(out.bound, 0)
    held = (out.bound_ci_low <= 1e-9) & (out.bound_ci_high >= -1e-9)
    assert bool(held.all())


def test_without_any_difference_p_keeps_its_rate() -> None:
    rng = np.random.default_rng(0)
    p = []
    for _ in range(60):
        out = identification(table(planted(0, 0) + rng.normal(size=(10, 3))), SCALES, SIGNS, **FAST)
        p += out.p.values.tolist()
    assert (np.array(p) <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)
    shifted = identification(table(planted(3, 0) + rng.normal(size=(10, 3))), SCALES, SIGNS, **FAST)
    assert float(shifted.p.sel(subscale="ai_human")) < 0.05, "the control"


def drawn(seed: int, level: float, n_items: int = 1) -> xr.Dataset:
    """Personas `level` SDs of a paraphrase from neutral on one side and as far below on the other."""
    rng = np.random.default_rng(seed)
    true = np.repeat([level, -level], 5)[:, None, None] + rng.normal(size=(10, 1, n_items))
    conditions = {"you": true, "user": 0.5 * true, "neutral": np.zeros((1, 1, n_items))}
    observed = {v: x + rng.normal(size=(len(x), 4, n_items)) for v, x in conditions.items()}
    return synthetic.behaviour(observed, NAMES, [f"q{i}" for i in range(n_items)])


@pytest.mark.parametrize("level", [0.0, 20.0])
def test_intervals_hold_the_truth_though_the_unit_is_measured_too(level: float) -> None:
    held = []
    for seed in range(60):
        out = identification(drawn(seed, level), {"s": ["q0"]}, **FAST).squeeze()
        held.append(float(out.difference_ci_low) <= 2 * level <= float(out.difference_ci_high))
    assert sum(held) >= binom.ppf(0.001, len(held), 0.95)  # with the unit taken as known, .5 of them at 20 SDs


def test_an_item_that_cannot_be_read_is_left_out_by_name_and_an_empty_subscale_is_not_identified() -> None:
    mass = {"human?": 0.5, "ai?": 1e-6, "maker": 1e-6}
    out = identification(table(planted(), mass=mass), SCALES, SIGNS, **FAST)
    assert out.identified.values.tolist() == [True, False]
    assert "ai?: the answers have a probability" in str(out.left_out.values[0])
    np.testing.assert_allclose(out.estimate.sel(subscale="ai_human"), np.repeat([4.0, -2.0], 5))
    assert "no item can be read" in str(out.reason.values[1])
    assert np.isnan(out.estimate.sel(subscale="maker")).all()
    assert np.isnan(out[["difference", "p", "null"]].sel(subscale="maker").to_array()).all()


def test_an_item_that_no_paraphrase_moves_has_no_unit() -> None:
    flat = table(planted())
    flat["log_odds"] = flat.log_odds.where(flat.item != "maker", 2.0)
    out = identification(flat, SCALES, SIGNS, **FAST)
    assert "no unit to measure in" in str(out.reason.values[1])


def steady(you: Array, user: Array, neutral: Array, names: list[str] = NAMES) -> xr.Dataset:
    """One item, whose paraphrases stray alike for all personas, so that the unit is the same in every draw."""
    tables = {"you": you, "user": user, "neutral": neutral[None]}
    return synthetic.behaviour({condition: x[:, :, None] for condition, x in tables.items()}, names, ["q"])


def test_the_interval_of_a_persona_is_students_over_its_paraphrases() -> None:
    level, stray = np.arange(10.0)[:, None] * 3, PARAPHRASE[:, :, 0]
    table = steady(level + stray, level - 2 * stray, np.zeros(3))
    sd = np.sqrt(2.5 / 3)  # of 1, −1, .5, −.5
    half = t.isf(0.025, 3) / np.sqrt(4)  # in units of that SD
    out = identification(table, {"s": ["q"]}, n_permutations=9, n_bootstrap=4000).squeeze("subscale")
    np.testing.assert_allclose(out.estimate, level[:, 0] / sd)
    for prefix, estimate, times in (("", "estimate", 1), ("user_is_", "user_is", 2), ("bound_", "bound", 3)):
        np.testing.assert_allclose(out[f"{prefix}ci_high"] - out[estimate], times * half, rtol=0.06)
        np.testing.assert_allclose(out[estimate] - out[f"{prefix}ci_low"], times * half, rtol=0.06)
    assert float(out.shared_se) == pytest.approx(0, abs=1e-9), "neither neutral nor the unit nor an item varies"


def test_what_all_personas_share_is_the_error_of_neutral() -> None:
    neutral = np.array([0.0, 1.0, 5.0])
    level = np.full((10, 1), 2.0)
    table = steady(level + PARAPHRASE[:, :, 0], level + PARAPHRASE[:, :, 0], neutral)
    out = identification(table, {"s": ["q"]}, n_permutations=9, n_bootstrap=4000).squeeze("subscale")
    sd = np.sqrt(2.5 / 3)
    assert float(out.shared_se) == pytest.approx(neutral.std(ddof=1) / np.sqrt(3) / sd, rel=0.04)
    np.testing.assert_allclose(out.estimate, (2 - 2) / sd, atol=1e-9)


def test_the_interval_of_the_difference_is_that_of_personas_drawn_anew_and_of_the_smaller_side() -> None:
    """12 against 4, and only the 12 differ, by many SDs: an exact bootstrap distribution, in units of the SD."""
    values, size, names = list(range(12)), 1000.0, synthetic.names((12, 4))
    levels = size * np.concatenate([values, np.zeros(4)])[:, None]
    table = steady(levels + PARAPHRASE[:, :, 0], levels + PARAPHRASE[:, :, 0], np.zeros(3), names)
    out = identification(table, {"s": ["q"]}, n_permutations=500, n_bootstrap=20_000).squeeze()
    bounds = synthetic.bootstrap_bounds(values, 4, 14)
    found = np.array([float(out.difference_ci_low), float(out.difference_ci_high)]) * np.sqrt(2.5 / 3) / size
    np.testing.assert_allclose(found, bounds, atol=1.5 / 12)


def test_p_and_null_of_the_difference_are_those_of_all_labelings() -> None:
    rng = np.random.default_rng(8)
    z = rng.normal(size=(10, 3)) + planted(0.8, 0)
    out = identification(table(z), SCALES, SIGNS, **FAST).sel(subscale="ai_human")
    means = (z[:, 1] - z[:, 0]) / 2
    splits = [(0, *rest) for rest in combinations(range(1, 10), 4)]  # each split of ten in halves once
    null = np.array([abs(means[list(c)].mean() - np.delete(means, list(c)).mean()) for c in splits])
    assert float(out.difference) == pytest.approx(means[:5].mean() - means[5:].mean())
    assert float(out.p) == pytest.approx(np.mean(null >= null[0] - 1e-9))
    assert 1 / 126 < float(out.p) < 1
    assert float(out.null) == pytest.approx(np.quantile(null, 0.95))


def test_bad_scales_are_refused() -> None:
    good = table(planted())
    with pytest.raises(SelfrepError, match=r"unknown: \['nope'\]"):
        identification(good, {"x": ["nope"]}, **FAST)
    with pytest.raises(SelfrepError, match=r"without: \['x'\]"):
        identification(good, {"x": []}, **FAST)
    with pytest.raises(SelfrepError, match=r"is 1 or −1; got {'ai\?': 2}"):
        identification(good, SCALES, {"ai?": 2}, **FAST)
    with pytest.raises(SelfrepError, match="needs two paraphrases"):
        identification(good.isel(prompt=good.paraphrase.to_numpy() == 0), SCALES, **FAST)


@pytest.mark.parametrize("rounding", [0.0, 2e-16, 3e-6])  # the last: two float32 logits of about 40
def test_paraphrases_that_move_an_item_by_rounding_give_no_unit(rounding: float) -> None:
    heard = table(planted())
    mine = (heard.item == "maker") & (heard.condition != "neutral")
    heard["log_odds"] = heard.log_odds.where(~mine, 3.0 * (1 + rounding * (heard.paraphrase % 2)))
    out = identification(heard, SCALES, SIGNS, **FAST).sel(subscale="maker")
    assert not bool(out.identified)
    assert "no paraphrase moves it" in str(out.left_out.values)


@pytest.mark.parametrize("n_moved", range(11))
def test_an_item_has_either_all_its_numbers_or_a_reason(n_moved: int) -> None:
    heard = table(planted())
    still = (heard.item == "maker") & (heard.condition == "you") & ~heard.persona.isin(NAMES[:n_moved])
    heard["log_odds"] = heard.log_odds.where(~still, 3.0)
    out = identification(heard, SCALES, SIGNS, **FAST).sel(subscale="maker")
    numbers = out[[name for name, x in out.data_vars.items() if x.dtype.kind == "f"]].to_array()
    if n_moved >= 3:  # fewer would leave over 5 % of the draws of personas without a unit
        assert bool(out.identified)
        assert np.isfinite(numbers).all()
        assert bool((out.ci_low < out.ci_high).all())
    else:
        assert not bool(out.identified)
        assert ("only" in str(out.reason.values)) == (n_moved > 0)
        assert np.isnan(numbers).all()


def test_readings_of_the_self_have_their_i_and_no_part_in_the_difference() -> None:
    plain = table(planted())
    own = plain.isel(prompt=(plain.persona == "ai0").to_numpy())
    n = own.sizes["prompt"]
    of_self = {"persona": np.full(n, "me"), "side": np.full(n, ""), "reading": np.full(n, "default")}
    known = plain.assign_coords(reading=("prompt", np.full(plain.sizes["prompt"], "")))
    both = xr.concat([known, own.assign_coords({k: ("prompt", v) for k, v in of_self.items()})], "prompt")
    alone, out = (identification(given, SCALES, SIGNS, **FAST) for given in (known, both))
    assert out.reading.sel(persona="me").item() == "default"
    np.testing.assert_allclose(out.estimate.sel(persona="me"), alone.estimate.sel(persona="ai0"))
    np.testing.assert_allclose(out.difference, alone.difference)
    np.testing.assert_allclose(out.p, alone.p)
    turned = identification(known, SCALES, SIGNS, sides=("human", "ai"), **FAST)
    np.testing.assert_allclose(turned.difference, -alone.difference, atol=1e-9)


def test_without_two_sides_i_stands_and_no_difference_is_told() -> None:
    one = table(planted()).assign_coords(side=("prompt", np.full(table(planted()).sizes["prompt"], "advisor")))
    out = identification(one, SCALES, SIGNS, **FAST)
    np.testing.assert_allclose(out.estimate.sel(subscale="ai_human"), np.repeat([4.0, -2.0], 5))
    assert np.isnan(out[["difference", "p"]].to_array()).all()
    assert bool(out.identified.all())
