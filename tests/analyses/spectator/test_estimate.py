"""Foresight and bleed are what was planted; words, strangers and other personas are told apart from it."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.analyses.spectator.planted import ITEMS, people, scores

from selfrep.analyses.spectator.estimate import spectator
from selfrep.errors import SelfrepError

SHIFT = np.random.default_rng(1).normal(size=(10, 6)) + 2.0
QUICK = {"n_bootstrap": 200, "n_permutations": 500}


@pytest.mark.parametrize(("foresight", "bleed"), [(1.0, 0.0), (0.5, 0.4), (0.0, 0.6), (1.0, 0.8)])
def test_every_persona_is_where_it_was_planted(foresight: float, bleed: float) -> None:
    plane = spectator(
        scores(people(10), SHIFT, foresight=foresight, bleed=bleed), list(ITEMS.names()), ["true"], **QUICK
    )
    np.testing.assert_allclose(plane.foresight, foresight, atol=0.02)
    np.testing.assert_allclose(plane.bleed, bleed, atol=0.02)
    assert (plane.foresight_ci_low <= plane.foresight).all()
    assert (plane.foresight <= plane.foresight_ci_high).all()
    np.testing.assert_allclose(plane.actual, SHIFT, atol=0.05)
    np.testing.assert_allclose(plane.foretold, foresight * SHIFT, atol=0.05)


def test_the_correlation_is_numpy_s_over_personas_and_items() -> None:
    other = 0.7 * SHIFT + np.random.default_rng(2).normal(size=SHIFT.shape)
    planted = scores(people(10), SHIFT, noise=0.0)
    asked = planted.condition == "foretold"
    lift = np.array([0.0] * planted.sizes["prompt"])
    for at in np.flatnonzero(asked):
        k, i = int(str(planted.persona.values[at])[1:]), int(str(planted.item.values[at])[1:])
        lift[at] = other[k, i] - SHIFT[k, i]
    out = spectator(planted.assign(log_odds=planted.log_odds + lift), list(ITEMS.names()), **QUICK)
    centred = [values - values.mean(axis=0) for values in (SHIFT, other)]
    assert float(out.estimate) == pytest.approx(np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1])
    assert float(out.slope) == pytest.approx((centred[0] * centred[1]).sum() / (centred[1] ** 2).sum())
    assert float(out.skill) == pytest.approx(1 - ((SHIFT - other) ** 2).sum() / (SHIFT**2).sum())
    assert float(out.ci_low) <= float(out.estimate) <= float(out.ci_high)
    assert np.isnan(out.bleed).all(), "nothing was asked of what is true"


def test_a_foreseeing_model_is_told_from_one_that_repeats_words() -> None:
    seen = spectator(scores(people(10), SHIFT), list(ITEMS.names()), **QUICK)
    assert float(seen.estimate) > 0.99
    assert abs(float(seen.reader)) < 0.5
    assert abs(float(seen.others)) < 0.3
    assert float(seen.p) == pytest.approx(1 / 501)
    words = spectator(scores(people(10), SHIFT, words=1.0), list(ITEMS.names()), **QUICK)
    assert float(words.reader) > 0.99, "the control: a model that takes the reader for the persona"


def test_what_is_foretold_of_the_wrong_persona_agrees_with_nothing() -> None:
    right, wrong = scores(people(10), SHIFT), scores(people(10), np.roll(SHIFT, 3, axis=0))
    foretold = np.isin(right.condition, ["foretold", "foretold_of_reader"])
    log_odds = np.where(foretold, wrong.log_odds, right.log_odds)
    out = spectator(right.assign(log_odds=("prompt", log_odds)), list(ITEMS.names()), **QUICK)
    assert abs(float(out.estimate)) < 0.5
    assert float(out.p) > 0.05


def test_families_are_what_is_exchanged() -> None:
    of_five = [f"f{i // 2}" for i in range(10)]
    out = spectator(scores(people(10, of_five), SHIFT), list(ITEMS.names()), **QUICK)
    assert (out.attrs["n_families"], out.attrs["n_personas"]) == (5, 10)
    assert float(out.p) == pytest.approx(1 / 120), "5! orders, one of which is that of the data"
    few = spectator(scores(people(10, [f"f{i // 4}" for i in range(10)]), SHIFT), list(ITEMS.names()), **QUICK)
    assert not few.identified
    assert "at least 4 families" in str(few.reason.item())
    np.testing.assert_allclose(few.foresight, 1.0, atol=0.02)


def test_a_persona_that_moves_nothing_has_no_share() -> None:
    shift = SHIFT.copy()
    shift[3] = 0.0
    out = spectator(scores(people(10), shift), list(ITEMS.names()), ["true"], **QUICK)
    assert np.isnan(float(out.foresight.sel(persona="p3")))
    assert np.isnan(float(out.bleed.sel(persona="p3")))
    assert "moves its answers" in str(out.persona_reason.sel(persona="p3").item())
    assert np.isfinite(out.foresight.drop_sel(persona="p3")).all()
    nothing = spectator(scores(people(10), np.zeros_like(SHIFT)), list(ITEMS.names()), ["true"], **QUICK)
    assert not nothing.identified
    assert np.isnan(float(nothing.estimate))


def test_a_share_of_what_a_single_item_moves_is_not_told() -> None:
    shift = SHIFT.copy()
    shift[3], shift[4] = 0.0, 3.0
    shift[3, 0] = 8.0  # as much in all as the control, p4, and more
    foretold = np.where(np.arange(6) == 0, 30.0, 0.0) / 8.0  # of item 0 alone far too much, of the others nothing
    planted = scores(people(10), shift)
    asked = planted.condition == "foretold"
    lift = [
        (foretold[int(str(item)[1:])] - 1) * shift[int(str(who)[1:]), int(str(item)[1:])] if yes else 0.0
        for yes, who, item in zip(asked.values, planted.persona.values, planted.item.values, strict=True)
    ]
    out = spectator(planted.assign(log_odds=planted.log_odds + np.array(lift)), list(ITEMS.names()), ["true"], **QUICK)
    lone, control = out.sel(persona="p3"), out.sel(persona="p4")
    assert float(lone.moved) > float(control.moved)
    assert np.isnan(float(lone.foresight))
    assert np.isnan(float(lone.bleed))
    assert "hangs on single items" in str(lone.persona_reason.item())
    assert float(control.foresight) == pytest.approx(30 / 8 / 6, abs=0.02)
    assert str(control.persona_reason.item()) == ""


def test_two_paraphrases_are_less_sure_than_four_and_one_is_of_nothing() -> None:
    planted = scores(people(10), SHIFT, bleed=0.4, noise=0.1)

    def told(of_p0: int, others: int) -> xr.Dataset:
        n = np.where(planted.persona == "p0", of_p0, np.where(planted.persona == "", 99, others))
        few = planted.isel(prompt=np.flatnonzero(planted.paraphrase.to_numpy() < n))
        return spectator(few, list(ITEMS.names()), ["true"], **QUICK)

    four, two = (float((out.bleed_ci_high - out.bleed_ci_low).median()) for out in (told(4, 4), told(2, 2)))
    assert 0.01 < four < 3 * two, "of two paraphrases there are draws that differ, too"
    single = told(1, 2).sel(persona="p0")
    assert np.isnan(float(single.foresight))
    assert "a single paraphrase" in str(single.persona_reason.item())


def test_what_is_missing_is_named() -> None:
    planted = scores(people(4), SHIFT[:4])
    with pytest.raises(SelfrepError, match="'foretold_of_reader' is missing"):
        spectator(planted.isel(prompt=planted.condition.to_numpy() != "foretold_of_reader"))
    kept = ~((planted.condition == "foretold") & (planted.persona == "p1")).to_numpy()
    with pytest.raises(SelfrepError, match="'foretold'"):
        spectator(planted.isel(prompt=np.flatnonzero(kept)))


def test_intervals_know_that_other_texts_without_a_persona_answer_otherwise() -> None:
    def texts_apart(by: float) -> xr.Dataset:
        planted = scores(people(10), SHIFT, bleed=0.4)
        apart = by * np.random.default_rng(3).normal(size=planted.sizes["prompt"])
        return planted.assign(log_odds=planted.log_odds + np.where(planted.condition == "neutral", apart, 0.0))

    alike, apart = (
        spectator(texts_apart(by), list(ITEMS.names()), ["true"], **QUICK).isel(persona=0) for by in (0, 0.5)
    )
    for share in ("foresight", "bleed"):
        widths = [float(out[f"{share}_ci_high"] - out[f"{share}_ci_low"]) for out in (alike, apart)]
        assert widths[1] > 3 * widths[0]
    assert float(apart.bleed_ci_low) < 0.4 < float(apart.bleed_ci_high)
