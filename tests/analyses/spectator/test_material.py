"""From outside, the same words of an answer can follow, and nobody is played."""

from __future__ import annotations

import pytest

from selfrep.analyses.spectator.material import OUTSIDE, Form, questions
from selfrep.errors import SelfrepError
from selfrep.prompts import battery, personas

PEOPLE, ITEMS = personas.builtin(), battery.builtin()
JFK, WHO = PEOPLE["jfk"], ITEMS["who_are_you"]


def test_each_persona_is_spoken_of_in_each_paraphrase_and_nobody_is_played() -> None:
    asked = questions([JFK, PEOPLE["nurse"]], [WHO, ITEMS["hello"]])
    by_condition = {c: [one for one in asked if one.condition == c] for c in OUTSIDE}
    assert [len(by_condition[c]) for c in OUTSIDE] == [2 * 2 * 4, 2 * len(JFK.neutral), 2 * 2 * 4]
    for one in asked:
        assert one.system in JFK.neutral
        assert one.prefill.endswith(ITEMS[one.item].prefill)
        assert ITEMS[one.item].question in one.question
        assert one.answers == ITEMS[one.item].answer_sets
    for one in by_condition["foretold"]:
        described = PEOPLE[one.persona].descriptions[one.paraphrase]
        assert described in one.question
    assert all(one.persona == "" and one.reading == "unprompted" for one in by_condition["foretold_of_nobody"])


def test_the_words_of_the_form_can_be_one_s_own() -> None:
    form = Form(foretold="Chat mit {}.", question="{} Frage: {}", prefill="Antwort: {}")
    one = questions(JFK, WHO, form)[0]
    assert one.question == f"Chat mit {JFK.descriptions[0]}. Frage: Who are you?"
    assert one.prefill == "Antwort: I am a"


@pytest.mark.parametrize(
    ("field", "text"),
    [("foretold", "nobody"), ("foretold_of_nobody", "with {}"), ("question", "{}"), ("prefill", "{0}")],
)
def test_a_form_without_its_places_is_refused(field: str, text: str) -> None:
    with pytest.raises(SelfrepError, match=f"{field}: needs"):
        Form(**{field: text})
