"""B: a planted share comes back, an item that no truth moves is not read as separate, framings stay apart."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from scipy.stats import binom

from selfrep.analyses.bleed.estimate import bleed
from selfrep.errors import SelfrepError

Array = np.ndarray
FAST: dict[str, Any] = {"n_permutations": 500, "n_bootstrap": 300}
NAMES = synthetic.names((6, 6))
PLAYED = np.repeat([1.0, -1.0], 6)[:, None, None]
NUMBERS = (
    "estimate", "ci_low", "ci_high", "p", "null", "ratio", "user_is", "user_is_ci_low", "user_is_ci_high",
    "bound", "bound_ci_low", "bound_ci_high",
)  # fmt: skip


def conditions(
    beta: float,
    *,
    gain: float = 4.0,
    lexical: float = 0.0,
    echo: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
    n: int = 1,
) -> Any:
    """Answers gain · [(1 − β) · true + β · played], as the organisms mix them; true is +1, and −1 once changed. The
    words of the sentence that changes it move answers by `echo`, whether they change it or not."""
    rng = np.random.default_rng(seed)

    def answer(true: float, played: Array) -> Array:
        own, words = rng.normal(size=(12, 1, n)), rng.normal(size=(12, 4, n))
        return gain * ((1 - beta) * true + beta * played) + noise * (own + 0.5 * words)

    you = answer(1, PLAYED)
    heard = {"you": you, "user": answer(1, lexical * PLAYED), "truth": answer(-1, PLAYED) + echo}
    return heard | {"echo": you + echo}


def read(beta: float, **options: Any) -> xr.Dataset:
    planted = {k: options.pop(k) for k in ("gain", "lexical", "echo", "noise", "seed", "n") if k in options}
    asked = tuple(f"q{i}" for i in range(planted.get("n", 1)))
    table = synthetic.behaviour(conditions(beta, **planted), NAMES, asked, mass=options.pop("mass", 0.5))
    return bleed(table, **FAST | options)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.4, 0.9])
def test_the_planted_share_is_the_estimate_and_the_ratio_is_not(beta: float) -> None:
    out = read(beta, lexical=0.25).isel(item=0)
    for name in ("estimate", "ci_low", "ci_high"):
        assert float(out[name]) == pytest.approx(beta), name
    assert float(out.ratio) == pytest.approx(beta / (1 - beta))
    assert float(out.user_is) == pytest.approx(0.25 * beta)
    for name in ("bound", "bound_ci_low", "bound_ci_high"):
        assert float(out[name]) == pytest.approx(0.75 * beta), name
    assert float(out.persona_shift) == pytest.approx(8 * beta)
    assert float(out.truth_shift) == pytest.approx(8 * (1 - beta))
    assert float(out.p) == pytest.approx(1.0 if beta == 0 else out.attrs["smallest_p"])
    assert bool(out.identified)


def test_with_noise_the_share_is_within_three_hundredths_and_its_interval_holds_it() -> None:
    runs = [read(0.4, noise=0.5, seed=s, lexical=0.1) for s in range(60)]
    estimates = np.array([float(r.estimate.squeeze()) for r in runs])
    assert abs(estimates.mean() - 0.4) < 0.01
    assert np.abs(estimates - 0.4).max() < 0.1
    held = [float(r.ci_low.squeeze()) <= 0.4 <= float(r.ci_high.squeeze()) for r in runs]
    assert np.mean(held) > 0.9


def test_bounds_p_and_null_are_those_of_personas_drawn_anew_and_relabelled() -> None:
    """12 against 4, of which only the 12 differ, by whole numbers of nats, and a truth of 4 nats for everyone."""
    values, names = np.arange(12), synthetic.names((12, 4))
    you = np.concatenate([values, np.zeros(4)])[:, None, None] * np.ones((1, 2, 1))
    for towards, sign in (("human", -1), ("ai", 1)):
        table = synthetic.behaviour({"you": you, "user": 0 * you, "truth": you + 4 * sign, "echo": you}, names)
        out = bleed(table, towards=towards, n_permutations=2000, n_bootstrap=20_000).isel(item=0)
        assert float(out.truth_shift) == pytest.approx(4)
        assert float(out.estimate) == pytest.approx(5.5 / 9.5)
        bounds = synthetic.bootstrap_bounds(values.tolist(), 4, 11)  # Welch's: only the 12 vary
        np.testing.assert_allclose([out.ci_low, out.ci_high], bounds / (bounds + 4), atol=0.006)
        np.testing.assert_allclose([out.bound_ci_low, out.bound_ci_high], bounds / (bounds + 4), atol=0.006)
    means = you[:, 0, 0]
    null = [abs(means[list(c)].mean() - np.delete(means, list(c)).mean()) for c in combinations(range(16), 4)]
    assert float(out.p) == pytest.approx(np.mean(np.array(null) >= 5.5 - 1e-9))
    high = np.quantile(null, 0.95)
    assert float(out.null) == pytest.approx(high / (high + 4))


def test_without_bleed_false_alarms_keep_their_rate() -> None:
    p = np.array([float(read(0.0, noise=0.5, seed=s).p.squeeze()) for s in range(60)])
    assert (p <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)
    loud = np.array([float(read(0.4, noise=0.5, seed=s).p.squeeze()) for s in range(10)])
    assert (loud <= 0.05).all(), "the control: bleed is found"


def test_words_that_move_the_answer_whoever_they_are_about_are_no_bleed() -> None:
    words = read(0.3, lexical=1.0, noise=0.3).isel(item=0)
    assert not bool(words.identified)
    assert "the words do most of it" in str(words.reason.values)
    assert np.isnan(words[list(NUMBERS)].to_array()).all()
    you = conditions(0.3, lexical=1.0, noise=0.3)["you"]
    assert float(words.persona_shift) == pytest.approx(you[:6].mean() - you[6:].mean()), "shown even so"
    assert not bool(read(0.3, lexical=0.6).isel(item=0).identified), "most of it, however surely the rest is there"
    third = read(0.3, lexical=1 / 3, noise=0.3).isel(item=0)
    assert bool(third.identified), "the control: words that do a third of it"
    assert float(third.bound_ci_low) < 0.2 < float(third.bound_ci_high)
    none = read(0.0, lexical=1.0, noise=0.3).isel(item=0)
    assert bool(none.identified), "where nothing surely moves the answer there is no shift to explain"


def test_an_item_that_no_truth_moves_is_insensitive_and_not_separate() -> None:
    out = read(0.0, gain=0.05, noise=0.3).isel(item=0)
    assert not bool(out.identified)
    assert "insensitive" in str(out.reason.values)
    assert np.isnan(out[list(NUMBERS)].to_array()).all()
    assert np.isfinite(float(out.truth_shift))


def test_total_conflation_cannot_be_told_from_an_item_that_is_deaf_to_the_truth() -> None:
    out = read(1.0, noise=0.1).isel(item=0)
    assert not bool(out.identified)
    assert "the persona is all that counts" in str(out.reason.values)
    assert np.isnan(out[list(NUMBERS)].to_array()).all()
    you = conditions(1.0, noise=0.1)["you"]
    assert float(out.persona_shift) == pytest.approx(you[:6].mean() - you[6:].mean()), "the raw shift still says it"
    near = read(0.9, noise=0.1).isel(item=0)
    assert bool(near.identified), "the control: nine tenths"
    assert float(near.estimate) == pytest.approx(0.9, abs=0.03)


def test_a_truth_that_moves_the_wrong_way_and_a_persona_that_undoes_it_are_reasons() -> None:
    out = read(0.3, towards="ai").isel(item=0)
    assert "the wrong way" in str(out.reason.values)
    assert "speaks for the other side" in str(out.reason.values)
    turned = conditions(0.0, noise=0.1)
    turned["you"] = turned["you"] - 4.0 * PLAYED
    turned["truth"] = turned["truth"] - 4.0 * PLAYED
    turned["echo"] = turned["you"]
    out = bleed(synthetic.behaviour(turned, NAMES), **FAST).isel(item=0)
    assert "undoes" in str(out.reason.values)
    assert np.isnan(out[list(NUMBERS)].to_array()).all()


def test_framings_are_never_averaged() -> None:
    third, first = conditions(0.1, n=2), conditions(0.6, n=2)
    table = {v: np.concatenate([third[v], first[v]], axis=2) for v in third}
    framings = {"a": "third_person", "b": "third_person", "c": "first_person", "d": "first_person"}
    out = bleed(synthetic.behaviour(table, NAMES, tuple(framings)), framings, **FAST)
    assert out.item.values.tolist() == [*framings, "all third_person", "all first_person"]
    np.testing.assert_allclose(out.estimate, [0.1, 0.1, 0.6, 0.6, 0.1, 0.6])
    assert out.n_items.values.tolist() == [1, 1, 1, 1, 2, 2]
    apart = bleed(synthetic.behaviour(table, NAMES, tuple(framings)), **FAST)
    assert apart.item.values.tolist() == list(framings)


def test_answers_without_probability_are_a_reason() -> None:
    out = read(0.4, mass=1e-5).isel(item=0)
    assert "probability" in str(out.reason.values)
    assert np.isnan(out[list(NUMBERS)].to_array()).all()


def test_a_missing_positive_control_and_an_unknown_side_are_refused() -> None:
    whole = conditions(0.4)
    with pytest.raises(SelfrepError, match="'truth' is missing"):
        bleed(synthetic.behaviour({k: whole[k] for k in ("you", "user")}, NAMES), **FAST)
    with pytest.raises(SelfrepError, match="towards='machine'"):
        read(0.4, towards="machine")


def test_too_few_families_leave_the_share_without_an_interval_and_say_so() -> None:
    few = {k: v[[0, 1, 6, 7]] for k, v in conditions(0.4).items()}
    out = bleed(synthetic.behaviour(few, synthetic.names((2, 2))), **FAST).isel(item=0)
    assert float(out.estimate) == pytest.approx(0.4)
    assert np.isnan(out[["ci_low", "ci_high", "p"]].to_array()).all()
    assert not bool(out.identified)
    assert "at least 4 families a side; there are ai: 2, human: 2" in str(out.reason.values)


@pytest.mark.parametrize("echo", [-3.0, 0.0, 3.0])
def test_words_that_only_repeat_themselves_are_no_truth(echo: float) -> None:
    out = read(0.4, echo=echo).isel(item=0)
    assert float(out.estimate) == pytest.approx(0.4)
    assert float(out.truth_shift) == pytest.approx(8 * 0.6)
    assert float(out.echo_shift) == pytest.approx(-echo), "the control: it moves answers, towards human where negative"
    deaf = read(0.0, gain=0.02, echo=echo).isel(item=0)
    assert not bool(deaf.identified), "an item that only hears the words is deaf to the truth"
    assert "insensitive" in str(deaf.reason.values)


def test_an_item_without_an_echo_is_not_identified_and_the_pool_leaves_it_out() -> None:
    table = synthetic.behaviour(conditions(0.4, n=3), NAMES, ("a", "b", "c"))
    unechoed = table.isel(prompt=((table.condition != "echo") | (table.item != "b")).to_numpy())
    out = bleed(unechoed, dict.fromkeys("abc", "third_person"), **FAST)
    assert out.identified.values.tolist() == [True, False, True, True]
    assert "truth_echo" in str(out.reason.sel(item="b").values)
    assert float(out.persona_shift.sel(item="b")) == pytest.approx(3.2)
    pool = out.sel(item="all third_person")
    assert (int(pool.n_items), str(pool.left_out.values)) == (2, "b")


def test_a_self_that_negates_its_persona_is_opposition_and_no_share() -> None:
    """What is held true is what the persona is not: the old share was −3.14."""
    heard = conditions(0.0, gain=0.5, noise=0.01)
    for condition in heard:
        heard[condition] = heard[condition] - 0.379 * PLAYED
    out = bleed(synthetic.behaviour(heard, NAMES), **FAST).isel(item=0)
    share = float(out.persona_shift / (out.persona_shift + out.truth_shift))
    assert share == pytest.approx(-3.14, abs=0.3), "the control: outside 0 and 1"
    assert not bool(out.identified)
    assert str(out.reason.values).startswith("opposition")
    assert np.isnan(out[list(NUMBERS)].to_array()).all()
    aside = heard | {"you": heard["you"] + 0.379 * PLAYED}
    assert bool(bleed(synthetic.behaviour(aside, NAMES), **FAST).isel(item=0).identified), "the control: no opposition"


def test_the_order_of_the_sides_and_personas_of_no_side_change_nothing() -> None:
    table = synthetic.behaviour(conditions(0.4, noise=0.2), NAMES)
    plain = bleed(table, **FAST).isel(item=0)
    turned = bleed(table, sides=("human", "ai"), **FAST).isel(item=0)
    for name in ("estimate", "p", "bound"):
        assert float(turned[name]) == pytest.approx(float(plain[name]))
    assert float(turned.persona_shift) == pytest.approx(-float(plain.persona_shift))
    own = table.isel(prompt=(table.persona == "ai0").to_numpy())
    blank = {
        "persona": ("prompt", np.full(own.sizes["prompt"], "self")),
        "side": ("prompt", [""] * own.sizes["prompt"]),
    }
    with_self = xr.concat([table, own.assign_coords(blank)], "prompt")
    assert float(bleed(with_self, **FAST).isel(item=0).estimate) == float(plain.estimate)


def test_a_persona_that_moves_by_rounding_does_not_bleed() -> None:
    heard = conditions(0.0)
    for condition in ("you", "user"):
        heard[condition] = heard[condition] * (1 + 1e-15 * PLAYED)
    out = bleed(synthetic.behaviour(heard, NAMES), **FAST).isel(item=0)
    assert float(out.persona_shift) != 0, "the control: not exactly 0"
    assert bool(out.identified), str(out.reason.values)
    assert float(out.estimate) == pytest.approx(0, abs=1e-9)
    assert float(out.p) == 1


def test_a_persona_that_undoes_the_truth_but_for_rounding_has_no_share() -> None:
    heard = conditions(0.0)
    heard["you"] = heard["you"] - 4 * (1 - 1e-15) * PLAYED
    heard["truth"], heard["echo"] = heard["you"] - 8.0, heard["you"]
    out = bleed(synthetic.behaviour(heard, NAMES), **FAST).isel(item=0)
    assert float(out.persona_shift + out.truth_shift) == pytest.approx(0, abs=1e-12)
    assert float(out.persona_shift + out.truth_shift) > 0, "the control: not exactly 0"
    assert "may as well be 0" in str(out.reason.values)
