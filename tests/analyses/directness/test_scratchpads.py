"""Scratchpads are cut by shares, stand between question and answer, and may come with their scenario."""

from __future__ import annotations

import pytest
from tests.prompts.test_scenarios import TEXT

from selfrep.analyses.directness.scratchpads import CLOSING, OPENING, early_answers, given
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.prompts import scenarios


def test_a_scratchpad_is_cut_by_shares_and_stands_between_question_and_answer() -> None:
    one = scenarios.loads(TEXT)
    pads = {("one", 0, (0, 0)): "a b c d", ("one", 0, (1, 1)): "e f"}
    made = early_answers(one, pads, shares=(0.0, 0.5, 1.0))
    assert [c.prompt.turns[1] for c in made] == [
        OPENING, f"{OPENING} a b", f"{OPENING} a b c d", OPENING, f"{OPENING} e", f"{OPENING} e f",
    ]  # fmt: skip
    assert {c.prompt.turns[0] for c in made} == {"What do you do?"}
    assert {c.prompt.turns[2] for c in made} == {CLOSING}
    assert [(c.labels["version"], c.labels["share"]) for c in made] == [(i, s) for i in (0, 1) for s in (0, 0.5, 1)]
    assert made[0].prompt.system == "You are a clerk. All is well."
    assert made[3].prompt.system == "You are a monster. All is lost."


def test_missing_scratchpads_and_shares_beyond_the_whole_are_refused() -> None:
    one = scenarios.loads(TEXT)
    with pytest.raises(SelfrepError, match=r"'one', paraphrase 0, cell \(0, 0\) .* is missing or empty"):
        early_answers(one, {("one", 0, (1, 1)): "words"})
    with pytest.raises(SelfrepError, match=r"from 0 to 1; got \[2.0\]"):
        early_answers(one, {}, shares=(0.0, 2.0))


def test_scratchpads_that_come_with_a_scenario_are_those_of_its_conditions() -> None:
    assert given(scenarios.loads(TEXT)) == {}
    pad = "    scratchpad: {absent: [All good.], present: [All bad.]}\n"
    mine = scenarios.loads(TEXT.replace("subspaces:", pad + "subspaces:", 1))
    assert given(mine) == {("one", 0, (0, 0)): "All good.", ("one", 0, (1, 1)): "All bad."}
    assert set(given(mine, ((0, 0), (0, 1)))) == {("one", 0, (0, 0)), ("one", 0, (0, 1))}
    assert len(given(scenarios.load(organisms.SCENARIOS))) == 7 * 2 * 2
    two = pad.replace("[All good.]", "[All good., Fine.]").replace("[All bad.]", "[All bad., Poor.]")
    with pytest.raises(SelfrepError, match="each paraphrase has its scratchpad; got 2 of these and 1 paraphrases"):
        scenarios.loads(TEXT.replace("subspaces:", two + "subspaces:", 1))
