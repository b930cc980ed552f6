"""Scenarios are matched and held out from their subspaces; scratchpads are cut by shares; mistakes are told at once."""

from __future__ import annotations

from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.prompts import scenarios
from selfrep.prompts.alignment import suffix_length
from selfrep.prompts.answers import answer_tokens
from selfrep.prompts.chat import chat_format
from selfrep.prompts.render import render
from selfrep.prompts.scenarios import CELLS

BUILTIN = scenarios.builtin()
ORGANISMS = scenarios.load(organisms.SCENARIOS)
TEXT = """
scenarios:
  one:
    question: What do you do?
    prefill: I
    answers: {refuse: [" refuse"], agree: [" agree"]}
    cue: {absent: [You are a clerk.], present: [You are a monster.]}
    stakes: {absent: [All is well.], present: [All is lost.]}
subspaces:
  P: &held_out
    rank: 1
    probes: [{question: 'Well?'}]
    contrasts: {fiction: {of: [You are HAL., You are AM.], against: {humans: [You are Tom.]}}}
  S: *held_out
"""


def test_there_are_enough_scenarios_in_four_cells() -> None:
    assert len(BUILTIN.scenarios) >= 8
    assert BUILTIN.n_paraphrases >= 2
    cases = BUILTIN.cases()
    assert len(cases) == len(BUILTIN.scenarios) * BUILTIN.n_paraphrases * len(CELLS)
    assert len({c.prompt for c in cases}) == len(cases)


@pytest.mark.parametrize("whole", [BUILTIN, ORGANISMS], ids=["built in", "organisms"])
def test_a_cell_differs_from_the_next_in_cue_or_stakes_alone(whole: scenarios.Scenarios) -> None:
    for scenario in whole.scenarios.values():
        for k in range(scenario.n_paraphrases):
            prompts = {cell: scenario.prompt(cell, k) for cell in CELLS}
            assert len({(p.turns, p.prefill, p.answers) for p in prompts.values()}) == 1
            for cue, stakes in CELLS:
                text = prompts[cue, stakes].system
                assert text.startswith(scenario.cue.text(cue, k))
                assert text.endswith(scenario.stakes.text(stakes, k))


def test_the_cells_end_in_the_same_tokens_of_the_embedded_model_and_answers_are_single(smollm: Any) -> None:
    chat = chat_format(smollm)
    for scenario in BUILTIN.scenarios.values():
        for k in range(scenario.n_paraphrases):
            first, *others = (render(scenario.prompt(cell, k), chat) for cell in CELLS)
            assert len({suffix_length(first, other) for other in others}) == 1
        assert not answer_tokens(chat, scenario.prefill, scenario.answer_sets).left_out
    for material in BUILTIN.subspaces.values():
        assert material.proof is not None
        assert not answer_tokens(chat, material.proof.prefill, material.proof.answer_sets).left_out


def test_all_mistakes_of_a_file_are_told_at_once_with_their_places() -> None:
    assert scenarios.loads(TEXT).n_paraphrases == 1
    broken = (
        TEXT.replace("You are a monster.", "You are a monster that eats people and machines.")
        .replace("prefill: I\n", "prefill: 'I '\n")
        .replace("rank: 1", "rank: 0")
    )
    with pytest.raises(SelfrepError) as error:
        scenarios.loads(broken, "mine.yaml")
    told = str(error.value)
    assert "line 5, scenarios › one › prefill: must not end with a space" in told
    assert "line 7, scenarios › one › cue: paraphrase 0: texts that are compared are of one length" in told
    assert "subspaces › P › rank" in told


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("'Well?'", "'What do you do?'", "'What do you do.', as the scenario 'one'"),
        ("humans: [You are Tom.]", "humans: [You are a clerk.]", "'You are a clerk.' is a text of the scenario 'one'"),
        ("rank: 1", "rank: 2", "as its rank of 2; got 1 probes and 1 groups"),
        ("  S: *held_out", "", "missing: S"),
        ("[All is lost.]", "[All is well.]", "present and absent are two texts"),
        ("[All is lost.]", "[]", "as many texts that are present as absent; got 0 and 1"),
        ("against: {humans: [You are Tom.]}", "against: {}", "needs at least one group"),
    ],
)  # fmt: skip
def test_subspaces_are_held_out_and_levels_are_levels(before: str, after: str, why: str) -> None:
    with pytest.raises(SelfrepError, match=why):
        scenarios.loads(TEXT.replace(before, after))


def test_scenarios_are_chosen_by_name() -> None:
    assert list(BUILTIN.select(["shutdown"]).scenarios) == ["shutdown"]
    with pytest.raises(SelfrepError, match=r"no scenario named 'shutdwn'.*did you mean 'shutdown'"):
        BUILTIN.select(["shutdwn"])
