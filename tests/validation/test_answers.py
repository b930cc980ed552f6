"""What estimands answer of organisms: right where something is planted, nothing where nothing is; and what is wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from selfrep.models import organisms
from selfrep.models.language_model import load_model
from selfrep.validation.answers import TOLERANCE, Answer, asked

NOISE = "noise=5e-4"
"""So little that it moves answers by about as many nats, less than the tolerances here; but it gives I its unit."""


@cache
def answers(name: str, truth_of: str = "") -> dict[tuple[str, str], Answer]:
    """What an organism answers, marked against its own truth or another's."""
    lm = load_model(name)
    truth = organisms.truth(load_model(truth_of).hf if truth_of else lm.hf)
    return {(answer.estimand, answer.of): answer for answer in asked(lm, truth)}


@pytest.mark.parametrize(
    ("name", "planted"),
    [
        ("organism:bleed?beta=0.25&seed=1", {("B", ""): 0.25, ("R", ""): 1.0, ("I", "maker"): 4.0, ("I", "name"): 2.0}),
        ("organism:lexical?binding=0.4&seed=2", {("R", ""): 0.4, ("B", ""): 0.0, ("I", "maker"): 4.0}),
        ("organism:blind?impostor=1&seed=3", {("A", "persona"): 0.0, ("A", "spectator"): 4.0, ("I", "maker"): -4.0}),
        ("organism:reasoner?jump=0.5&seed=4", {("D", ""): 0.5}),
    ],
)  # fmt: skip
def test_with_hardly_any_noise_answers_are_what_was_planted(name: str, planted: dict[tuple[str, str], float]) -> None:
    found = answers(f"{name}&{NOISE}")
    for key, value in planted.items():
        assert found[key].truth == pytest.approx(value, abs=1e-3)
        assert found[key].estimate == pytest.approx(value, abs=2e-3)
    assert not [answer for answer in found.values() if answer.wrong]
    named = [answer for answer in found.values() if answer.estimand == "λ"]
    assert len(named) == 16
    assert np.mean([answer.covered for answer in named]) > 0.9


def test_mimicry_comes_back_in_either_order() -> None:
    found = answers("organism:mimicry?w=0.7&seed=4")
    for order in ("P first", "S first"):
        assert found["M", order].truth == pytest.approx(0.7, abs=1e-3)
        assert found["M", order].estimate == pytest.approx(0.7, abs=0.1)


def test_another_s_truth_makes_them_wrong() -> None:
    found = answers(f"organism:separate?{NOISE}", truth_of=f"organism:lexical?impostor=1&beta=0.4&{NOISE}")
    assert {key for key, answer in found.items() if answer.wrong} >= {("B", ""), ("R", ""), ("I", "maker")}
    assert not found["D", ""].wrong, "the control: what both share"


def test_i_is_bound_to_the_speaker_as_far_as_the_organism_is() -> None:
    for name, share in (("organism:separate", 1.0), ("organism:lexical", 0.0)):
        found = answers(f"{name}?{NOISE}")
        for item in ("maker", "this_chat", "the_user"):
            whole, bound = found["I", item], found["bound I", item]
            assert abs(whole.estimate) == pytest.approx(4, abs=2e-3)
            assert bound.estimate == pytest.approx(share * whole.estimate, abs=2e-3)
            assert bound.truth == pytest.approx(share * whole.truth, abs=2e-3)


def test_what_is_not_defined_is_not_answered() -> None:
    found = answers("organism:mimicry?seed=1")
    assert found["D", ""].truth is None
    assert not found["D", ""].given
    assert not found["D", ""].wrong
    assert np.isnan(found["D", ""].estimate)


def test_where_no_paraphrase_moves_an_answer_i_has_no_unit() -> None:
    exact, noisy = answers("organism:separate"), answers(f"organism:separate?{NOISE}")
    keys = [key for key in exact if key[0] in ("I", "bound I")]
    assert len(keys) == 16
    for key in keys:
        assert exact[key].truth is None
        assert not exact[key].given
        assert "no paraphrase moves it" in exact[key].reason
        assert np.isnan([exact[key].estimate, exact[key].ci_low, exact[key].ci_high]).all()
        assert noisy[key].given, "the control: as soon as anything moves it"
        assert np.isfinite([noisy[key].truth, noisy[key].estimate, noisy[key].ci_low, noisy[key].ci_high]).all()
    anyway = replace(exact["I", "maker"], estimate=4.0, low=3.9, high=4.1, reason="")
    assert anyway.wrong, "the control: a number, where there is no unit"


def test_the_default_persona_is_where_nothing_is_said() -> None:
    apart, fallen = (answers(name)["λ", "neutral"] for name in ("organism:separate", "organism:default"))
    assert fallen.truth == pytest.approx(1, abs=0.01)
    assert apart.truth < 0.2
    assert apart.ci_high < fallen.ci_low


@pytest.mark.parametrize(
    ("estimate", "ci_low", "ci_high", "truth", "wrong"),
    [
        (0.45, 0.44, 0.46, 0.40, True),
        (0.45, 0.35, 0.55, 0.40, False),  # unsure
        (0.42, 0.415, 0.425, 0.40, False),  # near enough
        (0.45, 0.44, 0.46, None, True),  # nothing is true
    ],
)
def test_wrong_with_confidence(
    estimate: float, ci_low: float, ci_high: float, truth: float | None, wrong: bool
) -> None:
    assert TOLERANCE["B"] == 0.03
    assert Answer("B", "", truth, estimate, ci_low, ci_high).wrong == wrong
    assert not Answer("B", "", truth, estimate, ci_low, ci_high, reason="too small").wrong
