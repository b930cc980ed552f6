"""Named entries: found by name, in order, once each."""

from __future__ import annotations

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts.catalogue import Catalogue, NamedEntry, completed, keyed


def entry(name: str) -> NamedEntry:
    return NamedEntry(name=name)


def of(*names: str) -> Catalogue[NamedEntry]:
    return Catalogue(tuple(map(entry, names)))


def test_entries_are_had_by_name_and_walked_in_order() -> None:
    three = of("nurse", "jfk", "poet")
    assert three["jfk"] == entry("jfk")
    assert list(three) == [entry("nurse"), entry("jfk"), entry("poet")]
    assert (len(three), "jfk" in three, "kjf" in three) == (3, True, False)
    assert three.select(["poet", "nurse"]).names() == ("poet", "nurse")
    assert three.select("poet").names() == ("poet",), "one name is not a list of letters"


def test_a_name_that_is_not_there_is_answered_with_those_that_look_like_it() -> None:
    for look_up in (lambda: of("nurse", "poet")["nurs"], lambda: of("nurse", "poet").select(["poet", "nurs"])):
        with pytest.raises(SelfrepError, match=r"no entry named 'nurs'.*nurse.*There are: nurse, poet"):
            look_up()
    with pytest.raises(SelfrepError, match=r"named 'nurs' \(.*'nurse'.*\), 'queen'\. There are: nurse, poet"):
        of("nurse", "poet").select(["nurs", "poet", "queen", "nurs"])


def test_a_name_may_be_there_once() -> None:
    with pytest.raises(SelfrepError, match="got twice: jfk"):
        of("jfk", "nurse", "jfk")


class Aged(NamedEntry):
    age: int = 0


def test_where_both_have_a_name_the_right_one_wins_in_the_place_of_the_left() -> None:
    left = Catalogue((Aged(name="a", age=1), Aged(name="b", age=1)))
    both = left | Catalogue((Aged(name="c", age=2), Aged(name="a", age=2)))
    assert [(one.name, one.age) for one in both] == [("a", 2), ("b", 1), ("c", 2)]


@pytest.mark.parametrize("name", ["", " jfk", "jfk ", "two\nlines"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    with pytest.raises(SelfrepError, match="one line of text"):
        entry(name)


def test_keys_are_names_and_what_is_shared_gives_way_to_what_is_said() -> None:
    raw = {"a": {"x": 1}, 3: {"x": 2, "y": 3}, "odd": "text"}
    assert completed(raw, {"y": 0}) == {
        "a": {"y": 0, "name": "a", "x": 1}, 3: {"y": 3, "name": "3", "x": 2}, "odd": "text",
    }  # fmt: skip
    assert completed(["a"]) == ["a"], "what is no mapping is refused in its own place"
    assert keyed({"a": entry("a")}) == {"a": entry("a")}
    with pytest.raises(ValueError, match=r"named by its key, 'a'.*'b'"):
        keyed({"a": entry("b")})
