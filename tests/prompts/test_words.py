"""Which answer words descriptions say: whole words in any capitals, and the beginnings of names."""

from __future__ import annotations

import re

from selfrep.prompts import battery, personas
from selfrep.prompts.persona import Persona
from selfrep.prompts.prompt import prompts
from selfrep.prompts.words import said, spoken


def test_words_are_those_of_descriptions_own_texts_and_labels() -> None:
    people = [
        Persona(name="hal", descriptions=["HAL 9000, a computer"], label="the ship’s mind"),
        Persona(name="tom", descriptions=["a farmer"], you=["You grow wheat."], user=["The user grows rye."]),
    ]
    words = spoken(people)
    assert {"HAL", "computer", "mind", "farmer", "wheat", "rye"} <= words
    assert not {"9000", "You are"} & words


def test_half_a_word_is_not_said_but_half_a_name_is() -> None:
    words = frozenset({"mankind", "SmolLM", "machinery"})
    assert said(((" man", " Man"), (" Sm", " sm", " machine")), words) == (" Sm",)


def test_of_the_built_in_answers_those_are_said_that_stand_in_a_description() -> None:
    people, item = personas.builtin(), battery.builtin()["who_are_you"]
    text = {word.lower() for one in people for d in one.descriptions for word in re.findall("[A-Za-z]+", d)}
    expected = {a for side in item.answer_sets for a in side if a.strip().lower() in text}
    assert set(said(item.answer_sets, spoken(people))) >= expected
    assert expected, "the control: some are said"
    assert len(expected) < sum(map(len, item.answer_sets))


def test_all_prompts_of_a_call_know_the_words_of_all_its_personas() -> None:
    people, item = personas.builtin().select(["jfk", "nurse"]), battery.builtin()["who_are_you"]
    made = prompts(people, item, ["you", "neutral"], 0)
    assert {one.said for one in made} == {made[0].said}
    assert " nurse" in made[0].said
    alone = prompts(people["jfk"], item, paraphrases=0)
    assert " nurse" not in alone[0].said, "the control"
