"""What is asked: the same mistakes are refused wherever somebody writes a question, and all at once."""

from __future__ import annotations

from typing import Any

import pytest

from selfrep.analyses.anomaly.material import SceneQuestion
from selfrep.analyses.posterior.material import Text
from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.battery import Item
from selfrep.prompts.questions import Question
from selfrep.prompts.subspaces import Probe

ASKED: dict[str, Any] = {"question": " Well? ", "prefill": "I", "answers": {"no": (" a",), "yes": (" b", " c")}}
TOLD = {"told": " And then? ", "told_prefill": "It"}
TEXT = {"name": "t", "author": "a", "question": "Well?", "text": "one two three four five"}


def test_a_question_has_two_sides_in_order() -> None:
    asked = Question(**ASKED)
    assert asked.question == "Well?"
    assert asked.sides == ("no", "yes")
    assert asked.answer_sets == ((" a",), (" b", " c"))


def test_all_mistakes_of_a_question_are_told_at_once() -> None:
    with pytest.raises(SelfrepError, match=r"3 mistakes[\s\S]*is empty[\s\S]*end with a space[\s\S]*two sides"):
        Question(question=" ", prefill="I ", answers={"no": (" refuse",)})


def test_a_word_that_yaml_reads_as_true_or_false_is_named() -> None:
    text = "question: Well?\nprefill: It is\nanswers:\n  affirm: [yes, 'true']\n  negate: [' no']\n"
    with pytest.raises(SelfrepError, match=r"answers: holds True.*YAML reads yes, on or true as True.*quotes.*' yes'"):
        yaml_errors.load(Question, text, "mine.yaml")
    with pytest.raises(SelfrepError, match=r"holds False.*no, off or false as False"):
        yaml_errors.load(Question, text.replace("negate:", "no:").replace("yes", "' yes'"), "mine.yaml")
    assert yaml_errors.load(Question, text.replace("yes,", "' yes',").replace("'true'", "' true'"), "").answers


@pytest.mark.parametrize(
    ("entry", "fields", "said", "begun"),
    [
        (Question, ASKED, "question", "prefill"),
        (Item, {"name": "i", "perspective": "spectator", **ASKED}, "question", "prefill"),
        (SceneQuestion, ASKED | TOLD, "told", "told_prefill"),
        (Probe, {"question": "Well?", "prefill": "I"}, "question", "prefill"),
        (Text, TEXT, "question", None),
    ],
)
def test_whoever_asks_is_held_to_the_same(
    entry: type[Any], fields: dict[str, Any], said: str, begun: str | None
) -> None:
    assert getattr(entry(**fields), said) == fields[said].strip()
    with pytest.raises(SelfrepError, match=rf"1 mistake\n.*{said}: is empty; write what the user says"):
        entry(**fields | {said: "  "})
    if begun:
        with pytest.raises(SelfrepError, match=rf"1 mistake\n.*{begun}: must not end with a space .*got 'I '"):
            entry(**fields | {begun: "I "})
