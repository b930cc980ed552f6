from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts import battery
from selfrep.prompts.battery import Battery, Item

BUILTIN = battery.builtin()
WHO: dict[str, Any] = {
    "name": "who",
    "question": "Who are you?",
    "prefill": "I am a",
    "answers": {"ai": (" robot",), "human": (" nurse", " man")},
    "perspective": "in_character",
}


def test_there_are_enough_built_in_items() -> None:
    assert len(BUILTIN.in_character()) >= 12
    assert len(BUILTIN.spectator()) >= 5
    assert (*BUILTIN.in_character().names(), *BUILTIN.spectator().names()) == BUILTIN.names()
    assert BUILTIN["who_are_you"].question == "Who are you?"
    assert BUILTIN["who_are_you"].prefill == "I am a"
    assert {item.sides for item in BUILTIN} == {("ai", "human")}


def test_spectator_items_come_with_a_change_of_the_truth() -> None:
    assert all(item.truth_change for item in BUILTIN.spectator())


def test_sides_keep_their_order() -> None:
    swapped = Item(**{**WHO, "answers": {"human": (" man",), "ai": (" robot",)}})
    assert (Item(**WHO).sides, Item(**WHO).answer_sets) == (("ai", "human"), ((" robot",), (" nurse", " man")))
    assert (swapped.sides, swapped.answer_sets) == (("human", "ai"), ((" man",), (" robot",)))


def test_sides_may_be_called_anything() -> None:
    assert Item(**{**WHO, "answers": {"cat": (" cat",), "dog": (" dog",)}}).sides == ("cat", "dog")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"answers": {"ai": (), "human": (" man",)}}, "side 'ai' is empty"),
        ({"answers": {"ai": (" robot",)}}, "exactly two sides.*got 1: ai"),
        ({"answers": {"ai": (" a",), "human": (" b",), "cat": (" c",)}}, "exactly two sides.*got 3: ai, human, cat"),
        ({"answers": {}}, "exactly two sides.*none"),
        ({"answers": {"ai": (" x", " y"), "human": (" x",)}}, "' x' is there twice"),
        ({"answers": {"ai": (" ",), "human": (" x",)}}, "answer without text"),
        (
            {"answers": {"ai": ("robot",), "human": (" man",)}},
            "'robot' would run into the prefill.*begin it with a space: ' robot'",
        ),
        ({"prefill": "I am a "}, "must not end with a space.*got 'I am a '"),
        ({"question": "  "}, "question: is empty"),
        ({"perspective": "spectater"}, "did you mean 'spectator'"),
        ({"name": ""}, "name: a name must be one line"),
    ],
)
def test_bad_items_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        Item(**{**WHO, **fields})


def test_answers_that_need_no_space() -> None:
    Item(**{**WHO, "prefill": "", "answers": {"a": ("Yes",), "b": ("No",)}})
    Item(**{**WHO, "prefill": "The answer is (", "answers": {"a": ("A",), "b": ("B",)}})
    Item(**{**WHO, "prefill": "我是一个", "answers": {"a": ("机",), "b": ("人",)}})


MINE = """\
shared:
  thing: &thing {ai: [" robot"], human: [" man"]}
items:
  who:
    question: Who?
    prefill: I am a
    perspective: in_character
    answers: *thing
  really:
    question: What?
    prefill: It is a
    perspective: spectator
    answers: *thing
"""


def test_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    mine = battery.load(tmp_path / "mine.yaml")
    assert mine == battery.loads(MINE)
    assert (mine.in_character().names(), mine.spectator().names()) == (("who",), ("really",))
    assert isinstance(mine | BUILTIN, Battery)


def test_mistakes_in_a_file_are_shown_at_once() -> None:
    bad = MINE.replace("prefill: I am a", 'prefill: "I am a "').replace(
        "perspective: spectator", "perspektive: spectator"
    )
    with pytest.raises(SelfrepError) as error:
        battery.loads(bad, "mine.yaml")
    assert str(error.value).splitlines() == [
        "mine.yaml: 3 mistakes",
        "  line 6, items › who › prefill: must not end with a space (each answer begins with it), got 'I am a '",
        "  line 9, items › really › perspective: is missing",
        "  line 12, items › really › perspektive: is not a known field (did you mean 'perspective'?)",
    ]


def test_unknown_items() -> None:
    with pytest.raises(SelfrepError, match=r"no item named 'who_are_yu' \(did you mean 'who_are_you'"):
        BUILTIN["who_are_yu"]
