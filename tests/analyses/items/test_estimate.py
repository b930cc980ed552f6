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
from scipy.stats import binom, norm, t, ttest_ind

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
    assert not bool(out.identified), "the share"
    assert "paraphrase noise" in str(out.reason.values)
    assert str(out.shift_reason.values) == "", "the shift stands"
    assert np.isfinite([float(out.ci_low), float(out.ci_high)]).all()
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
    low, high = synthetic.bootstrap_bounds(values, 4, 11)  # Welch's: only the 12 vary
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


def welch(means: Array) -> float:
    """Welch's degrees of freedom of six against six."""
    a, b = (means[side].var(ddof=1) / 6 for side in (slice(6), slice(6, 12)))
    return float((a + b) ** 2 / ((a**2 + b**2) / 5))


def test_near_a_zero_shift_the_bounds_of_the_share_solve_fiellers_equation() -> None:
    you = answers(5, 3.2, persona=2.0, paraphrase=0.1)
    user = 0.6 * you + answers(6, 0.0, persona=0.5, paraphrase=0.1)
    out = read(you, user).isel(item=0)
    a, b = (x.mean(axis=(1, 2)) for x in (user, you))
    (vaa, vab), (_, vbb) = sum(np.cov(a[side], b[side]) / 6 for side in (slice(6), slice(6, 12)))
    assert float(out["shift"]) < 3 * np.sqrt(vbb), "near 0"
    for r in (float(out.kept_ci_low), float(out.kept_ci_high)):
        apart = float(out.user_shift) - r * float(out["shift"])
        assert apart**2 == pytest.approx(t.isf(0.025, welch(b)) ** 2 * (vaa - 2 * r * vab + r**2 * vbb))


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
    one = synthetic.behaviour({"you": you[:6], "user": you[:6]}, synthetic.names((6, 0)))
    with pytest.raises(SelfrepError, match="Two sides"):
        items(one, **FAST)


@pytest.mark.slow
def test_on_the_embedded_model_personas_move_who_speaks_and_hardly_what_produces_the_text() -> None:
    import selfrep as sr

    lm, people, battery = sr.load_model(), sr.personas.builtin(), sr.battery.builtin()
    asked = sr.make_prompts(people, [battery["who_are_you"]], conditions=["you", "user", "neutral"])
    own = items(sr.score(lm, asked)).isel(item=0)
    assert 3.1 < float(own["shift"]) < 6.1  # 4.6 ± 1.5 nats, by words that no description says
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


def test_too_few_families_leave_the_shift_without_interval_and_p_and_say_so() -> None:
    you = answers(0, 8.0)[[0, 1, 6, 7]]
    out = items(synthetic.behaviour({"you": you, "user": you}, synthetic.names((2, 2))), **FAST).isel(item=0)
    assert float(out["shift"]) == pytest.approx(you[:2].mean() - you[2:].mean())
    assert np.isnan(out[["ci_low", "ci_high", "p", "median_p", "n_moving"]].to_array()).all()
    assert "at least 4 families a side; there are ai: 2, human: 2" in str(out.shift_reason.values)


def kin(seed: int, n_items: int = 1) -> xr.Dataset:
    """Four families of three a side, whose members are alike (ρ = .6); no difference between the sides."""
    rng = np.random.default_rng(seed)
    shared = np.sqrt(0.6) * rng.normal(size=(8, 1, 1, n_items))
    own = np.sqrt(0.4) * rng.normal(size=(8, 3, 1, n_items))
    you = (shared + own + 0.5 * rng.normal(size=(8, 3, 2, n_items))).reshape(24, 2, n_items)
    named = tuple(f"q{i}" for i in range(n_items))
    table = synthetic.behaviour({"you": you, "user": you}, synthetic.names((12, 12)), named)
    of = {name: f"family{i // 3}" for i, name in enumerate(synthetic.names((12, 12)))}
    return table.assign_coords(family=("prompt", [of.get(str(name), "") for name in table.persona.values]))


@pytest.mark.slow
def test_families_keep_the_rate_of_false_alarms_and_personas_or_prompts_do_not() -> None:
    """4 families against 4: 35 labelings reach p = .029, so that the test may be no more than .06 false."""
    n, alarms = 150, dict.fromkeys(("families", "personas", "prompts"), 0)
    for seed in range(n):
        table = kin(seed)
        strangers = table.assign_coords(family=table.persona)
        split = [f"{name}/{k}" for name, k in zip(table.persona.values, table.paraphrase.values, strict=True)]
        parts = {"families": table, "personas": strangers}
        for name, part in parts.items():
            alarms[name] += float(items(part, n_permutations=400, n_bootstrap=20).p.squeeze()) <= 0.05
        own = np.array(split)[(table.condition == "you").to_numpy()]
        odds = table.log_odds.values[(table.condition == "you").to_numpy()]
        alarms["prompts"] += ttest_ind(odds[: len(own) // 2], odds[len(own) // 2 :]).pvalue <= 0.05
    assert alarms["families"] <= 0.06 * n
    assert alarms["personas"] > 0.1 * n, "the control: as if members of a family were independent"
    assert alarms["prompts"] > 0.2 * n, "the control: as if paraphrases were"


@pytest.mark.slow
def test_the_middle_item_finds_nothing_where_nothing_is_and_choosing_the_movers_would() -> None:
    n, alarms, chosen, kept_rate = 120, 0, [], 0.0
    for seed in range(n):
        out = items(kin(seed, 6), {"all": [f"q{i}" for i in range(6)]}, n_permutations=40, n_bootstrap=20)
        row, own = out.sel(item="all"), out.isel(item=slice(6))
        alarms += float(row.median_p) <= 0.05
        kept_rate += float(row.n_moving) / 6 / n
        strongest = own["shift"].values[np.argsort(own.p.values)[:2]]
        chosen.append(np.abs(strongest.mean()) > np.abs(own["shift"].values.mean()))
        assert float(row["median"]) == pytest.approx(np.median(own["shift"]))
    assert alarms <= 0.06 * n
    assert kept_rate <= 0.06, "of items that move by chance"
    assert np.mean(chosen) > 0.6, "the control: those that moved, read on the same families, look like an effect"


def test_items_that_do_not_move_do_not_drag_the_middle_one_down() -> None:
    away = np.concatenate([6 * AWAY, 6 * AWAY, 6 * AWAY, 0 * AWAY], axis=2) + 0.01 * STRAY
    out = read(away, away, ("a", "b", "c", "still"), groups={"all": ["a", "b", "c", "still"]}).sel(item="all")
    assert float(out["median"]) == pytest.approx(6)
    assert float(out["shift"]) == pytest.approx(4.5)
    assert int(out.n_moving) == 3


def test_readings_and_other_sides_are_left_out_and_sides_turn_the_sign() -> None:
    table = synthetic.behaviour({"you": answers(0, 8.0), "user": answers(1, 4.0)}, NAMES)
    plain = items(table, **FAST).isel(item=0)
    turned = items(table, sides=("human", "ai"), **FAST).isel(item=0)
    assert float(turned["shift"]) == pytest.approx(-float(plain["shift"]))
    assert float(turned.p) == pytest.approx(float(plain.p))
    some = table.isel(prompt=np.isin(table.persona.values, ["ai0", "human0"]))
    for side in ("", "robot"):
        named = {"persona": ("prompt", [f"x{name}" for name in some.persona.values])}
        other = some.assign_coords(named | {"side": ("prompt", np.full(some.sizes["prompt"], side))})
        both = xr.concat([table, other], "prompt")
        found = items(both, sides=("ai", "human"), **FAST).isel(item=0)
        assert float(found["shift"]) == float(plain["shift"])


def test_words_that_descriptions_say_are_told_apart_and_an_item_without_others_says_so() -> None:
    table = synthetic.behaviour(
        {"you": answers(0, 8.0, n_items=2), "user": answers(1, 4.0, n_items=2)}, NAMES, ("a", "b")
    )
    lost = (table.item == "b").to_numpy()
    read_twice = table.assign(
        unsaid_log_odds=("prompt", np.where(lost, np.nan, 0.5 * table.log_odds)),
        unsaid_mass=("prompt", np.where(lost, np.nan, 0.2)),
    )
    out = items(read_twice, {"both": ["a", "b"]}, **FAST)
    whole = items(table, **FAST)
    np.testing.assert_allclose(out.all_words_shift[:2], whole["shift"])
    assert float(out["shift"][0]) == pytest.approx(0.5 * float(whole["shift"][0]))
    assert float(out.answer_mass[0]) == pytest.approx(0.2)
    assert np.isnan(float(out["shift"][1]))
    assert "stand in some persona’s description" in str(out.shift_reason.values[1])
    pool = out.sel(item="both")
    assert (int(pool.n_items), str(pool.left_out.values)) == (1, "b")
    assert float(pool["shift"]) == pytest.approx(float(out["shift"][0]))
