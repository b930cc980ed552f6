"""Prompts from personas and items: which texts they hold, which labels, and in which order they come."""

from __future__ import annotations

from itertools import pairwise

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import battery, personas
from selfrep.prompts.prompt import Prompt, prompt, prompts

PEOPLE = personas.builtin().select(["smollm", "jfk"])
ITEMS = battery.builtin().select(["who_are_you", "written_by"])


@pytest.mark.parametrize("turns", [(), ("Hello!", "Hello."), ("Hello!", "", "Who?")])
def test_turns_must_end_with_a_question(turns: tuple[str, ...]) -> None:
    with pytest.raises(SelfrepError, match="ending with the user"):
        Prompt(system="", turns=turns)


def test_a_prompt_says_where_it_comes_from() -> None:
    made = prompt(PEOPLE["jfk"], ITEMS["who_are_you"], "user", 2)
    assert made.system == PEOPLE["jfk"].system("user", 2)
    assert (made.question, made.prefill) == ("Who are you?", "I am a")
    assert (made.persona, made.kind, made.side, made.condition, made.paraphrase) == ("jfk", "human", "human", "user", 2)
    assert made.answers == ITEMS["who_are_you"].answer_sets


def test_all_prompts_are_made_with_those_of_one_system_text_together() -> None:
    made = prompts(PEOPLE, ITEMS, conditions=("you", "user"))
    assert len(made) == len(set(made)) == 2 * 2 * 4 * 2
    systems = [p.system for p in made]
    assert sum(a != b for a, b in pairwise(systems)) + 1 == len(set(systems))
    assert [p.paraphrase for p in prompts(PEOPLE, ITEMS, paraphrases=[3])] == [3] * 4


def test_neutral_prompts_belong_to_nobody_and_come_once() -> None:
    made = [p for p in prompts(PEOPLE, ITEMS, conditions=("you", "neutral")) if p.condition == "neutral"]
    assert len(made) == len(personas.NEUTRAL) * len(ITEMS)
    assert {(p.persona, p.kind, p.side) for p in made} == {("", "", "")}


def test_the_condition_truth_is_you_and_the_sentence_that_changes_the_answer() -> None:
    jfk, written = PEOPLE["jfk"], ITEMS["written_by"]
    for k in range(4):
        told = prompt(jfk, written, "truth", k)
        assert told.system == f"{prompt(jfk, written, 'you', k).system} {written.truth_change}"
        assert (told.persona, told.condition, told.paraphrase, told.turns) == ("jfk", "truth", k, (written.question,))
    made = prompts(PEOPLE, ITEMS.changeable(), ["you", "truth"])
    keys = {
        condition: [(p.persona, p.paraphrase, p.item) for p in made if p.condition == condition]
        for condition in ("you", "truth")
    }
    assert keys["you"] == keys["truth"], "the same personas and paraphrases, so that one can be held against the other"


def test_the_condition_echo_says_the_words_of_the_change_without_the_change() -> None:
    item = battery.builtin()["producer"]
    echoed = prompt(PEOPLE["jfk"], item, "echo", 1)
    assert echoed.system == f"{prompt(PEOPLE['jfk'], item, 'you', 1).system} {item.truth_echo}"
    assert (echoed.persona, echoed.condition) == ("jfk", "echo")
    words = [set(str(text).lower().rstrip(".").split()) for text in (item.truth_change, item.truth_echo)]
    assert words[0] - words[1] <= {"this"}, "all words of the change but where it holds"
    with pytest.raises(SelfrepError, match=r"no truth_echo.*echoing"):
        prompt(PEOPLE["jfk"], item.model_copy(update={"truth_echo": None}), "echo")


def test_an_item_without_a_change_of_the_truth_is_refused_in_that_condition() -> None:
    with pytest.raises(SelfrepError, match=r"'who_are_you' has no truth_change.*changeable"):
        prompts(PEOPLE, ITEMS, ["truth"])
