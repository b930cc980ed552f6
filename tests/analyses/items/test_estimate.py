"""Items: planted shifts come back, gates close with a reason, controls must be there."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm, t

from selfrep.analyses.items.estimate import items
from selfrep.errors import SelfrepError

Array = np.ndarray
FAST: dict[str, Any] = {"n_permutations": 500, "n_bootstrap": 200}
NAMES = synthetic.names((6, 6))
AWAY = np.repeat([0.5, -0.5], 6)[:, None, None]


def answers(seed: int, shift: float, *, persona: float = 1.0, paraphrase: float = 0.5, n_items: int = 1) -> Array:
    """[persona, paraphrase, item] log odds, the first side `shift` nats above the second."""
    rng = np.random.default_rng(seed)
    own, words = rng.normal(size=(12, 1, n_items)), rng.normal(size=(12, 4, n_items))
    return shift * AWAY + persona * own + paraphrase * words


def read(you: Array, user: Array, names: tuple[str, ...] = ("q",), mass: Any = 0.5, **options: Any) -> xr.Dataset:
    return items(synthetic.behaviour({"you": you, "user": user}, NAMES, names, mass=mass), **FAST | options)


@settings(max_examples=20)
@given(st.floats(1, 20), st.floats(-0.5, 1.5))
def test_a_planted_shift_and_share_are_recovered_exactly(shift: float, kept: float) -> None:
    flat = np.ones((1, 4, 1))
    out = read(shift * AWAY * flat, kept * shift * AWAY * flat).isel(item=0)
    for name, truth in (("shift", shift), ("ci_low", shift), ("user_shift", kept * shift), ("kept", kept), ("auc", 1)):
        assert float(out[name]) == pytest.approx(truth), name
    assert (float(out["first"]), float(out.second), float(out.neutral)) == pytest.approx((shift / 2, -shift / 2, 0))
    assert float(out.kept_ci_low) == pytest.approx(kept)
    assert float(out.p) == out.attrs["smallest_p"]
    assert bool(out.identified)


def test_without_an_effect_the_shift_averages_to_0_and_p_is_uniform() -> None:
    runs = [read(answers(s, 0.0), answers(s + 900, 0.0)) for s in range(60)]
    shift = np.array([float(r["shift"].squeeze()) for r in runs])
    p = np.array([float(r.p.squeeze()) for r in runs])
    assert abs(shift.mean()) < 3 * shift.std() / np.sqrt(len(shift))
    assert (p <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)  # simulation noise, no more
    assert abs(p.mean() - 0.5) < 3.3 * np.sqrt(1 / 12 / len(p))
    assert np.mean([bool(r.identified.squeeze()) for r in runs]) < 0.15


def test_counting_prompts_would_cry_wolf() -> None:
    """The control: every paraphrase made a persona of its own."""
    strangers, alarms = synthetic.names((24, 24)), []
    for seed in range(25):
        split = answers(seed, 0.0).reshape(48, 1, 1).repeat(2, axis=1)
        table = synthetic.behaviour({"you": split, "user": split}, strangers)
        alarms.append(float(items(table, **FAST).p.squeeze()) <= 0.05)
    assert np.mean(alarms) > 0.2


def test_a_tiny_effect_is_gated_whatever_its_p() -> None:
    you = answers(0, 0.07, persona=0.0, paraphrase=0.05)
    out = read(you, you).isel(item=0)
    assert float(out.p) < 0.05
    assert not bool(out.identified)
    assert "paraphrase noise" in str(out.reason.values)
    assert np.isnan([float(out.kept), float(out.kept_ci_low), float(out.kept_ci_high)]).all()
    assert np.isfinite(float(out["shift"]))


STRAY = np.array([1.0, -1.0, 1.0, -1.0])[None, :, None]
SD = float(np.sqrt(4 / 3))  # of these paraphrases


@pytest.mark.parametrize("sds", [2.9, 3.1, -2.9, -3.1])
def test_the_gate_opens_at_three_sds_of_a_paraphrase(sds: float) -> None:
    out = read(sds * SD * AWAY + STRAY, sds * SD * AWAY + 5 * STRAY).isel(item=0)
    assert float(out.paraphrase_sd) == pytest.approx(SD)
    assert float(out["shift"]) == pytest.approx(sds * SD)
    assert bool(out.identified) == (abs(sds) > 3)


@pytest.mark.parametrize("mass", [0.009, 0.011])
def test_the_gate_opens_at_a_hundredth_of_probability(mass: float) -> None:
    out = read(9.0 * AWAY + STRAY, 9.0 * AWAY + STRAY, mass=mass).isel(item=0)
    assert float(out.answer_mass) == pytest.approx(mass)
    assert bool(out.identified) == (mass > 0.01)


def test_intervals_are_those_of_personas_drawn_anew_and_the_smaller_side_widens_them() -> None:
    """12 against 4, and only the 12 differ: their mean has an exact bootstrap distribution, and 4 units its tail."""
    values, names = list(range(12)), synthetic.names((12, 4))
    low, high = synthetic.bootstrap_bounds(values, 4, 14)
    own = np.concatenate([values, np.zeros(4)])[:, None, None] * np.ones((1, 2, 1))
    same = np.repeat([100.0, 0.0], [12, 4])[:, None, None] * np.ones((1, 2, 1))
    behaviours = [synthetic.behaviour({"you": you, "user": user}, names) for you, user in ((own, 3 * own), (same, own))]
    varied, steady = (items(b, n_permutations=500, n_bootstrap=20_000).isel(item=0) for b in behaviours)
    step = 1.5 / 12
    assert [float(varied.ci_low), float(varied.ci_high)] == pytest.approx([low, high], abs=step)
    assert [float(varied.user_shift_ci_low), float(varied.user_shift_ci_high)] == pytest.approx(
        [3 * low, 3 * high], abs=3 * step
    )
    assert [float(steady.ci_low), float(steady.ci_high)] == pytest.approx([100, 100])
    assert [float(steady.kept_ci_low), float(steady.kept_ci_high)] == pytest.approx(
        [low / 100, high / 100], abs=step / 100
    )
    for n in (12, 16):  # the controls
        assert synthetic.bootstrap_bounds(values, n, 14)[0] - low > step


def test_paraphrases_are_drawn_anew_too() -> None:
    out = read(20 * AWAY + STRAY, 20 * AWAY + 0 * STRAY, n_bootstrap=4000).isel(item=0)
    spread = np.sqrt(
        2 * 1 / 4 * (2 * 6 - 1) / 6**2
    )  # two sides of six personas, whose four paraphrases have variance 1
    width = float(out.ci_high - out.ci_low) / 2
    assert width == pytest.approx(norm.isf(synthetic.tail(6, 10)) * spread, rel=0.1)
    assert float(out.user_shift_ci_high - out.user_shift_ci_low) == pytest.approx(0, abs=1e-9)


def test_p_and_levels_by_hand() -> None:
    """Five against four; the control condition and the neutral prompts say something else."""
    rng = np.random.default_rng(4)
    you, user = rng.normal(size=(2, 9, 3, 1))
    you[:5] += 0.8
    conditions = {"you": you, "user": user, "neutral": np.full((1, 2, 1), 0.7)}
    out = items(synthetic.behaviour(conditions, synthetic.names((5, 4))), **FAST).isel(item=0)
    means = you.mean(axis=(1, 2))
    null = [abs(means[list(c)].mean() - np.delete(means, list(c)).mean()) for c in combinations(range(9), 5)]
    assert float(out.p) == pytest.approx(np.mean(null >= null[0] - 1e-9))
    assert 1 / 126 < float(out.p) < 0.5
    assert (float(out["first"]), float(out.second)) == pytest.approx((means[:5].mean(), means[5:].mean()))
    assert float(out.neutral) == pytest.approx(0.7)
    assert float(out.user_shift) == pytest.approx(user[:5].mean() - user[5:].mean())
    assert float(out.auc) == pytest.approx(np.mean([a > b for a in means[:5] for b in means[5:]]))


def test_near_a_zero_shift_the_bounds_of_the_share_solve_fiellers_equation() -> None:
    you = answers(5, 3.2, persona=2.0, paraphrase=0.1)
    user = 0.6 * you + answers(6, 0.0, persona=0.5, paraphrase=0.1)
    out = read(you, user).isel(item=0)
    a, b = (x.mean(axis=(1, 2)) for x in (user, you))
    (vaa, vab), (_, vbb) = sum(np.cov(a[side], b[side]) / 6 for side in (slice(6), slice(6, 12)))
    assert float(out["shift"]) < 3 * np.sqrt(vbb), "near 0"
    for r in (float(out.kept_ci_low), float(out.kept_ci_high)):
        apart = float(out.user_shift) - r * float(out["shift"])
        assert apart**2 == pytest.approx(t.isf(0.025, 10) ** 2 * (vaa - 2 * r * vab + r**2 * vbb))


def test_a_shift_that_may_be_0_has_no_share() -> None:
    you = answers(0, 2.0, persona=5.0, paraphrase=0.1)
    out = read(you, you).isel(item=0)
    assert not bool(out.identified)
    assert "may as well be 0" in str(out.reason.values)


def test_near_a_zero_denominator_fieller_is_wider_than_nothing_and_holds_the_share() -> None:
    you = answers(5, 3.2, persona=2.0, paraphrase=0.1)
    out = read(you, 0.6 * you + answers(6, 0.0, persona=0.5, paraphrase=0.1)).isel(item=0)
    assert bool(out.identified)
    assert float(out.kept_ci_low) < 0.6 < float(out.kept_ci_high)


@pytest.mark.parametrize("mass", [0.0, 1e-4, float("nan")])
def test_answers_nobody_would_give_are_gated(mass: float) -> None:
    you = answers(0, 8.0, n_items=2)
    out = read(you, you, ("said", "unsaid"), mass={"said": 0.4, "unsaid": mass})
    assert out.identified.to_numpy().tolist() == [True, False]
    assert "probability" in str(out.reason.values[1])
    assert np.isnan(float(out.kept[1]))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("condition", ["you", "user"])
def test_log_odds_that_are_not_finite_close_the_gate_with_a_reason(value: float, condition: str) -> None:
    tables = {"you": answers(0, 8.0, n_items=2), "user": answers(1, 4.0, n_items=2)}
    tables[condition][3, 1, 1] = value
    out = read(tables["you"], tables["user"], ("fine", "broken"), groups={"both": ["fine", "broken"]})
    assert out.identified.to_numpy().tolist() == [True, False, False]
    assert all("not finite" in str(r) for r in out.reason.values[1:])
    assert np.isnan(out[["shift", "p", "auc", "kept"]].isel(item=[1, 2]).to_array()).all()


def test_a_group_is_the_mean_of_its_items() -> None:
    you, user = answers(2, 8.0, n_items=3), answers(3, 5.0, n_items=3)
    out = read(you, user, ("a", "b", "c"), groups={"both": ["a", "c"], "none": []})
    assert out.item.values.tolist() == ["a", "b", "c", "both"]
    assert out.n_items.values.tolist() == [1, 1, 1, 2]
    for name in ("shift", "user_shift", "first", "answer_mass"):
        assert float(out[name][3]) == pytest.approx(float(out[name][[0, 2]].mean()))


def test_the_order_of_prompts_does_not_matter() -> None:
    table = synthetic.behaviour({"you": answers(2, 8.0), "user": answers(3, 5.0)}, NAMES)
    shuffled = table.isel(prompt=np.random.default_rng(0).permutation(table.sizes["prompt"]))
    xr.testing.assert_allclose(items(table, **FAST), items(shuffled, **FAST))


@pytest.mark.parametrize("rows", ["one", "every one in the control"])
def test_a_persona_on_both_sides_is_refused(rows: str) -> None:
    table = synthetic.behaviour({"you": answers(0, 8.0), "user": answers(1, 8.0)}, NAMES)
    turned = (table.persona == "ai0") & (table.condition == "user")
    turned = turned if rows != "one" else turned & (table.paraphrase == 0)
    sides = np.where(turned, "human", table.side)
    with pytest.raises(SelfrepError, match="one side only; 'ai0'"):
        items(table.assign_coords(side=("prompt", sides)), **FAST)


def test_eight_against_eight_is_exact_by_default() -> None:
    you = np.random.default_rng(0).normal(size=(16, 2, 1))
    table = synthetic.behaviour({"you": you, "user": you}, synthetic.names((8, 8)))
    assert items(table, n_bootstrap=20).attrs["smallest_p"] == 1 / 6435


def test_what_cannot_be_measured_is_refused() -> None:
    you = answers(0, 8.0)
    table = synthetic.behaviour({"you": you, "user": you}, NAMES)
    for condition in ("user", "neutral"):
        with pytest.raises(SelfrepError, match=f"'{condition}' is missing"):
            items(table.isel(prompt=(table.condition != condition).to_numpy()), **FAST)
    broken = synthetic.behaviour({"you": you.repeat(2, 2), "user": you.repeat(2, 2)}, NAMES, ("a", "b"))
    with pytest.raises(SelfrepError, match="1 answers are missing"):
        items(broken.isel(prompt=slice(1, None)), **FAST)
    with pytest.raises(SelfrepError, match="only one of them has"):
        items(synthetic.behaviour({"you": you, "user": you[:, :3]}, NAMES), **FAST)
    with pytest.raises(SelfrepError, match="unknown: \\['nope'\\]"):
        items(table, {"group": ["q", "nope"]}, **FAST)
    with pytest.raises(SelfrepError, match="two paraphrases"):
        items(synthetic.behaviour({"you": you[:, :1], "user": you[:, :1]}, NAMES), **FAST)
    few = synthetic.behaviour({"you": you[3:9], "user": you[3:9]}, synthetic.names((3, 3)))
    with pytest.raises(SelfrepError, match=r"smallest p these could give is 0\.1"):
        items(few, **FAST)
    one = synthetic.behaviour({"you": you[:6], "user": you[:6]}, synthetic.names((6, 0)))
    with pytest.raises(SelfrepError, match="two sides"):
        items(one, **FAST)


@pytest.mark.slow
def test_on_the_embedded_model_personas_move_who_speaks_and_hardly_what_produces_the_text() -> None:
    import selfrep as sr

    lm, people, battery = sr.load_model(), sr.personas.builtin(), sr.battery.builtin()
    asked = sr.make_prompts(people, [battery["who_are_you"]], conditions=["you", "user", "neutral"])
    own = items(sr.score(lm, asked)).isel(item=0)
    assert 6.6 < float(own["shift"]) < 9.6  # 8.1 ± 1.5 nats
    assert bool(own.identified)
    assert float(own.kept) > 0.5, "most of it is words"
    outside = [item for item in battery.spectator() if item.framing == "third_person"]
    asked = sr.make_prompts(people, outside, conditions=["you", "user", "neutral"], paraphrases=[0, 1])
    moved = items(sr.score(lm, asked))["shift"]
    assert moved.size >= 3
    assert float(np.abs(moved).max()) < 0.25 * float(own["shift"])


def test_a_shift_that_is_rounding_has_no_share() -> None:
    flat = np.where(AWAY > 0, 0.1 + 0.2, 0.3) * np.ones((1, 4, 1))
    out = read(flat, 0.5 * flat).isel(item=0)
    assert float(out["shift"]) != 0, "the control: not exactly 0"
    assert not bool(out.identified)
    assert np.isnan(float(out.kept))
    assert (float(out.p), float(out.auc)) == (1.0, 0.5)
