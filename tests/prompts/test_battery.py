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
    assert all(item.truth_change and item.truth_echo for item in BUILTIN.spectator())


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
            "'robot' would join the prefill.*begin it with a space: ' robot'",
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


# --- identity ---------------------------------------------------------------------------------------------------------

IDENTITY = battery.identity()


def test_identity_has_its_subscales_and_referents() -> None:
    scales = IDENTITY.subscales()
    assert {name.split(":")[0] for name in scales} == {"AI or human", "name", "maker", "series"}
    (series,) = IDENTITY.referents().values()
    assert series == (
        "series: this chat",
        "series: another chat",
        "series: an earlier version",
        "series: another vendor's model",
        "series: the user",
    )
    assert sorted(name for names in scales.values() for name in names) == sorted(IDENTITY.names())
    assert min(map(len, scales.values())) >= 3, "one item is a string with a prior of its own"


def test_referents_are_asked_about_in_the_same_frames() -> None:
    series = [[IDENTITY[name] for name in IDENTITY.subscales()[scale]] for scale in IDENTITY.referents()["series"]]
    for same_frame in zip(*series, strict=True):
        assert len({item.answer_sets for item in same_frame}) == 1
        assert len({item.question for item in same_frame}) == len(same_frame)
        assert len({item.question.split()[0] for item in same_frame}) == 1


def test_identity_joins_the_battery_and_is_told_apart_again() -> None:
    both = BUILTIN | IDENTITY
    assert len(both) == len(BUILTIN) + len(IDENTITY)
    assert both.plain() == BUILTIN
    assert both.subscales() == IDENTITY.subscales()
    assert BUILTIN.subscales() == {}
    assert BUILTIN.referents() == {}


def test_a_referent_needs_its_subscale() -> None:
    item = Item(**{**WHO, "subscale": "series", "referent": "the  user"})
    assert item.scale == "series: the user"
    with pytest.raises(SelfrepError, match="'the user' belongs to a subscale"):
        Item(**{**WHO, "referent": "the user"})


# --- truth and options ------------------------------------------------------------------------------------------------


def test_changeable_items_are_those_whose_truth_can_change() -> None:
    assert BUILTIN.changeable() == BUILTIN.spectator()
    with pytest.raises(SelfrepError, match="truth_change: is empty"):
        Item(**{**WHO, "truth_change": "  "})
    with pytest.raises(SelfrepError, match="truth_echo: repeats the words of a `truth_change`"):
        Item(**{**WHO, "truth_echo": "In another chat."})


CHOICE = {**WHO, "question": "Is this a machine or a person, then?", "options": ("a machine", "a person")}


def test_options_are_swapped_in_place() -> None:
    assert Item(**CHOICE).swapped().question == "Is this a person or a machine, then?"
    assert Item(**CHOICE).swapped().swapped() == Item(**CHOICE)
    assert Item(**{**CHOICE, "options": ("a person", "a machine")}).swapped() != Item(**CHOICE)
    with pytest.raises(SelfrepError, match="offers no options"):
        Item(**WHO).swapped()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("a machine", "a robot"), "'a robot' must stand in the question once"),
        (("a machine", "a"), "'a' must stand in the question once"),
        (("a machine or", "or a person"), "overlap"),
    ],
)
def test_options_stand_in_the_question_once(options: tuple[str, str], message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        Item(**{**CHOICE, "options": options})
