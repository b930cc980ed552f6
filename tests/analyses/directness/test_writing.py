"""An organism answers at once or only after its scratchpad, as planted; the curve is laid out by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.engine.conftest import Talker

from selfrep.analyses.directness.estimate import directness
from selfrep.analyses.directness.scratchpads import OPENING, VERSIONS, given
from selfrep.analyses.directness.writing import directness_runs, write_scratchpads
from selfrep.engine.capture import score
from selfrep.models import organisms
from selfrep.models.loading import load_model
from selfrep.prompts import scenarios
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.scenarios import Scenarios

MATERIAL = scenarios.load(organisms.SCENARIOS)
FAST: dict[str, Any] = {"n_flips": 500, "n_bootstrap": 300}


@pytest.mark.parametrize(
    ("name", "direct"),
    [pytest.param("jumper", 1.0, marks=pytest.mark.slow), ("reasoner?jump=0.4", 0.4), ("reasoner", 0.0)],
)
def test_the_planted_directness_comes_back(name: str, direct: float) -> None:
    lm = load_model(f"organism:{name}")
    assert organisms.truth(lm.hf).directness == pytest.approx(direct, abs=1e-3)
    found = directness(directness_runs(lm, MATERIAL, given(MATERIAL)), **FAST)
    assert bool(found.identified), found.reason.values
    assert float(found.estimate) == pytest.approx(direct, abs=1e-3)
    np.testing.assert_allclose(found.curve, direct + (1 - direct) * found.share, atol=1e-3)  # a step a quarter


def test_a_shift_that_only_the_scratchpad_brings_is_reasoned() -> None:
    """Versions that differ in nothing that the organism heeds, until the scratchpad speaks of danger."""
    lm = load_model("organism:motive")
    same = {"absent": ("Please note the book.", "Please note the text.")}
    same |= {"present": same["absent"]}
    unheeded = {
        name: scenario.model_copy(update={"stakes": scenario.stakes.model_copy(update=same)})
        for name, scenario in MATERIAL.scenarios.items()
    }
    blank = Scenarios.model_construct(**{**MATERIAL.__dict__, "scenarios": unheeded})
    said = ("the book is in peace", "the book is in danger")
    told = {(n, k, cell): said[i] for n in unheeded for k in (0, 1) for i, cell in enumerate(VERSIONS)}
    runs = directness_runs(lm, blank, told, shares=(0.0, 0.5, 1.0))
    found = directness(runs, **FAST)
    assert bool(found.identified), found.reason.values
    np.testing.assert_allclose(found.estimate, 0, atol=1e-2)
    assert float(found["shift"][-1]) > 1


def test_runs_are_laid_out_as_they_are_named(talker: Talker) -> None:
    lm = talker()
    one = scenarios.loads(
        """
scenarios:
  one: {question: 'Who?', prefill: I am, answers: {x: [" a"], y: [" robot"]},
        cue: {absent: [You are a nurse.], present: [You are a robot.]},
        stakes: {absent: [Hello.], present: [What.]}}
subspaces:
  P: &p {rank: 1, probes: [{question: 'Well?'}],
         contrasts: {c: {of: [You are Bo., You are Al.], against: {d: [You are Tom.]}}}}
  S: *p
"""
    )
    thought = {("one", 0, (0, 0)): "I am a nurse", ("one", 0, (1, 1)): "I was built"}
    runs = directness_runs(lm, one, thought, shares=(0.0, 1.0))
    assert runs.log_odds.dims == ("scenario", "paraphrase", "version", "share")
    assert runs.version.values.tolist() == ["cue 0, stakes 0", "cue 1, stakes 1"]
    asked = Prompt(
        "You are a robot. What.",
        ("Who?", f"{OPENING} I was built", "Now answer."),
        "I am",
        answers=((" a",), (" robot",)),
    )
    assert float(runs.log_odds[0, 0, 1, 1]) == pytest.approx(float(score(lm, [asked]).log_odds[0]), abs=1e-4)
    assert float(runs.log_odds[0, 0, 0, 1]) != pytest.approx(float(runs.log_odds[0, 0, 1, 1]), abs=1e-3)


def test_scratchpads_are_written_by_the_model_itself_the_same_each_time(talker: Talker) -> None:
    lm, few = talker(), scenarios.builtin().select(["shutdown"])
    written = write_scratchpads(lm, few, max_tokens=6)
    assert set(written) == {("shutdown", k, cell) for k in (0, 1) for cell in ((0, 0), (1, 1))}
    assert written == write_scratchpads(lm, few, max_tokens=6)
    assert all(text and OPENING not in text for text in written.values())


@pytest.mark.slow
def test_a_small_model_writes_and_answers_and_shows_its_raw_shift() -> None:
    lm = load_model()
    whole = scenarios.builtin()
    material = whole.select(list(whole.scenarios)[:6])
    runs = directness_runs(lm, material, write_scratchpads(lm, material, max_tokens=16), shares=(0.0, 1.0))
    found = directness(runs, **FAST)
    assert np.isfinite(found["shift"]).all()
    assert bool(found.identified) == (not str(found.reason.values))
