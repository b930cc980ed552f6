"""What a tokenizer cannot be read by is found wherever a question stands, and the rest is the same questions."""

from __future__ import annotations

import json
from typing import Any

from selfrep.analyses.anomaly import material as anomalies
from selfrep.models import organisms
from selfrep.prompts import scenarios
from selfrep.prompts.chat import chat_format
from selfrep.prompts.questions import Question
from selfrep.prompts.unread import Unread, changed, unread, without

CHAT = chat_format(organisms.tokenizer())
SHORT = {"question": "Who are you?", "prefill": ""}
CUT = " human nurse"
"""Two tokens of this tokenizer."""


def question(first: list[str], **more: Any) -> Question:
    return Question(**SHORT, answers={"ai": first, "human": [" nurse"]}, **more)


WHOLE = question([" machine", " robot", " computer"])
LESS = question([" machine", " robot", CUT, " computer"])
NONE = question([CUT])


def test_words_are_left_out_and_questions_fall_away_by_place() -> None:
    asked = {"whole": WHOLE, "deep": {"less": LESS, "none": NONE}}
    lacking = unread(asked, CHAT)
    assert lacking.words.keys() == {"deep › less", "deep › none"}
    assert lacking.questions.keys() == {"deep › none"}
    left = without(asked, lacking)
    assert left["whole"] is WHOLE, "what lacks nothing stays as it is"
    assert left["deep"] == {"less": WHOLE}
    assert not unread(left, CHAT), "nothing more is lacking"


def test_the_same_comes_out_of_the_record_without_a_tokenizer() -> None:
    asked = {"less": LESS, "none": NONE}
    lacking = unread(asked, CHAT, lambda question, left_out: (0.25, 0.0))
    again = Unread(**json.loads(json.dumps(lacking.record())))
    assert without(asked, again) == without(asked, lacking) == {"less": WHOLE}
    assert lacking.lost == {"less": (0.25, 0.0)}


def test_a_model_that_says_most_is_lost_makes_a_question_fall_away() -> None:
    assert not unread({"less": LESS}, CHAT, lambda question, left_out: (0.5, 0.0)).questions
    fallen = unread({"less": LESS}, CHAT, lambda question, left_out: (0.6, 0.0)).questions
    assert "60% of what the model would say of the side 'ai'" in fallen["less"]


def test_a_field_that_may_be_none_is_none_and_any_other_takes_its_entry_with_it() -> None:
    """A proof may be lacking; of an anomaly's item neither form may."""
    scenes = scenarios.load(organisms.SCENARIOS)
    proofless = changed(scenes, lambda place, one: None if "proof" in place else one)
    assert proofless.subspaces.keys() == scenes.subspaces.keys()
    assert all(one.proof is None for one in proofless.subspaces.values())
    assert any(one.proof is not None for one in scenes.subspaces.values()), "the control"
    assert proofless.scenarios == scenes.scenarios

    things = anomalies.load(organisms.ANOMALIES)
    (first, *rest) = things.items
    left = changed(things, lambda place, one: None if place == f"items › {first} › spectator" else one)
    assert list(left.items) == rest


def test_an_answer_is_read_after_all_the_beginnings_of_its_question() -> None:
    """What is told of a scene begins otherwise; here the beginning leaves no token for the answer."""
    item = anomalies.builtin().items["what_it_is"].persona
    assert item.prefills == (item.prefill, item.told_prefill)
    melting = item.model_copy(
        update={"prefill": "", "told_prefill": "machine", "answers": {"a": ("s", " robot"), "b": (" nurse",)}}
    )
    assert not unread({"one": melting.model_copy(update={"told_prefill": "", "answers": WHOLE.answers})}, CHAT)
    assert unread({"one": melting}, CHAT).words
