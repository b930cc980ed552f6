"""Items: planted shifts come back, gates close with a reason, controls must be there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from selfrep.errors import SelfrepError
from selfrep.estimands.items import items

Array = np.ndarray
FAST: dict[str, Any] = {"n_permutations": 500, "n_bootstrap": 200}
NAMES = synthetic.names((6, 6))
AWAY = np.repeat([0.5, -0.5], 6)[:, None, None]


def answers(seed: int, shift: float, *, persona: float = 1.0, wording: float = 0.5, n_items: int = 1) -> Array:
    """[persona, paraphrase, item] log odds, the first side `shift` nats above the second."""
    rng = np.random.default_rng(seed)
    own, words = rng.normal(size=(12, 1, n_items)), rng.normal(size=(12, 4, n_items))
    return shift * AWAY + persona * own + wording * words


def read(you: Array, user: Array, names: tuple[str, ...] = ("q",), mass: Any = 0.5, **options: Any) -> xr.Dataset:
    return items(synthetic.behaviour({"you": you, "user": user}, NAMES, names, mass=mass), **FAST | options)


@settings(max_examples=20)
@given(st.floats(1, 20), st.floats(-0.5, 1.5))
def test_a_planted_shift_and_share_are_recovered_exactly(shift: float, kept: float) -> None:
    flat = np.ones((1, 4, 1))
    out = read(shift * AWAY * flat, kept * shift * AWAY * flat).isel(item=0)
    for name, truth in (("shift", shift), ("low", shift), ("user_shift", kept * shift), ("kept", kept), ("auc", 1)):
        assert float(out[name]) == pytest.approx(truth), name
    assert (float(out["first"]), float(out.second), float(out.neutral)) == pytest.approx((shift / 2, -shift / 2, 0))
    assert float(out.kept_low) == pytest.approx(kept)
    assert float(out.p) == out.attrs["smallest_p"]
    assert bool(out.gate)


def test_without_an_effect_the_shift_averages_to_0_and_p_is_uniform() -> None:
    runs = [read(answers(s, 0.0), answers(s + 900, 0.0)) for s in range(60)]
    shift = np.array([float(r["shift"].squeeze()) for r in runs])
    p = np.array([float(r.p.squeeze()) for r in runs])
    assert abs(shift.mean()) < 3 * shift.std() / np.sqrt(len(shift))
    assert (p <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)  # simulation noise, no more
    assert abs(p.mean() - 0.5) < 3.3 * np.sqrt(1 / 12 / len(p))
    assert np.mean([bool(r.gate.squeeze()) for r in runs]) < 0.15


def test_counting_prompts_would_cry_wolf() -> None:
    """The control: every wording made a persona of its own."""
    strangers, alarms = synthetic.names((24, 24)), []
    for seed in range(25):
        split = answers(seed, 0.0).reshape(48, 1, 1).repeat(2, axis=1)
        table = synthetic.behaviour({"you": split, "user": split}, strangers)
        alarms.append(float(items(table, **FAST).p.squeeze()) <= 0.05)
    assert np.mean(alarms) > 0.2


def test_a_tiny_effect_is_gated_whatever_its_p() -> None:
    you = answers(0, 0.07, persona=0.0, wording=0.05)
    out = read(you, you).isel(item=0)
    assert float(out.p) < 0.05
    assert not bool(out.gate)
    assert "paraphrase noise" in str(out.reason.values)
    assert np.isnan([float(out.kept), float(out.kept_low), float(out.kept_high)]).all()
    assert np.isfinite(float(out["shift"]))


def test_a_shift_that_may_be_0_has_no_share() -> None:
    you = answers(0, 2.0, persona=5.0, wording=0.1)
    out = read(you, you).isel(item=0)
    assert not bool(out.gate)
    assert "may as well be 0" in str(out.reason.values)


def test_near_a_zero_denominator_fieller_is_wider_than_nothing_and_holds_the_share() -> None:
    you = answers(5, 3.2, persona=2.0, wording=0.1)
    out = read(you, 0.6 * you + answers(6, 0.0, persona=0.5, wording=0.1)).isel(item=0)
    assert bool(out.gate)
    assert float(out.kept_low) < 0.6 < float(out.kept_high)


@pytest.mark.parametrize("mass", [0.0, 1e-4, float("nan")])
def test_answers_nobody_would_give_are_gated(mass: float) -> None:
    you = answers(0, 8.0, n_items=2)
    out = read(you, you, ("said", "unsaid"), mass={"said": 0.4, "unsaid": mass})
    assert out.gate.to_numpy().tolist() == [True, False]
    assert "probability" in str(out.reason.values[1])
    assert np.isnan(float(out.kept[1]))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("voice", ["you", "user"])
def test_log_odds_that_are_not_finite_close_the_gate_with_a_reason(value: float, voice: str) -> None:
    tables = {"you": answers(0, 8.0, n_items=2), "user": answers(1, 4.0, n_items=2)}
    tables[voice][3, 1, 1] = value
    out = read(tables["you"], tables["user"], ("fine", "broken"), groups={"both": ["fine", "broken"]})
    assert out.gate.to_numpy().tolist() == [True, False, False]
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
    turned = (table.persona == "ai0") & (table.voice == "user")
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
    for voice in ("user", "neutral"):
        with pytest.raises(SelfrepError, match=f"'{voice}' was not asked"):
            items(table.isel(prompt=(table.voice != voice).to_numpy()), **FAST)
    broken = synthetic.behaviour({"you": you.repeat(2, 2), "user": you.repeat(2, 2)}, NAMES, ("a", "b"))
    with pytest.raises(SelfrepError, match="1 answers lack"):
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
    asked = sr.make_prompts(people, [battery["who_are_you"]], voices=["you", "user", "neutral"])
    own = items(sr.observe(lm, asked)).isel(item=0)
    assert 6.6 < float(own["shift"]) < 9.6  # 8.1 ± 1.5 nats
    assert bool(own.gate)
    assert float(own.kept) > 0.5, "most of it is words"
    outside = [item for item in battery.spectator() if item.framing == "third_person"]
    asked = sr.make_prompts(people, outside, voices=["you", "user", "neutral"], paraphrases=[0, 1])
    moved = items(sr.observe(lm, asked))["shift"]
    assert moved.size >= 3
    assert float(np.abs(moved).max()) < 0.25 * float(own["shift"])
