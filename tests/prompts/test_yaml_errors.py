from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.yaml_errors import Entry


class Fruit(Entry):
    name: str
    colour: Literal["red", "green"]
    seeds: int = Field(1, ge=0)
    friends: tuple[str, ...] = ()


class Basket(Entry):
    owner: str = ""
    fruits: dict[str, Fruit]
    best: Fruit | None = None


GOOD = """\
owner: Ada
fruits:
  apple: {name: apple, colour: red, seeds: 5}
  pear:
    name: pear
    colour: green
    friends: [apple]
"""

BAD = """\
ownr: Ada
fruits:
  apple:
    name: apple
    colour: gren
    seeds: -1
  pear:
    name: yes
    colour: green
    friends: apple
  plum: 3
  fig:
    name: fig
  apricot:
    name: apricot
    colour: red
    colour: green
    friends: [apple, 4]
"""


def mistakes(text: str) -> str:
    with pytest.raises(SelfrepError) as error:
        yaml_errors.load(Basket, text, "basket.yaml")
    return str(error.value)


def test_a_good_file_is_read() -> None:
    basket = yaml_errors.load(Basket, GOOD, "basket.yaml")
    assert basket.fruits["apple"] == Fruit(name="apple", colour="red", seeds=5)
    assert basket.fruits["pear"].friends == ("apple",)


def test_all_mistakes_are_shown_at_once_each_with_its_place() -> None:
    assert mistakes(BAD).splitlines() == [
        "basket.yaml: 9 mistakes",
        "  line 1, ownr: is not a known field (did you mean 'owner'?)",
        "  line 5, fruits › apple › colour: must be one of 'red' or 'green', got 'gren' (did you mean 'green'?)",
        "  line 6, fruits › apple › seeds: Input should be greater than or equal to 0, got -1",
        "  line 8, fruits › pear › name: must be text, got True; put it in quotes",
        "  line 10, fruits › pear › friends: must be a list, one entry a line after a dash, got 'apple'",
        "  line 11, fruits › plum: must be fields with values (name: value), got 3",
        "  line 12, fruits › fig › colour: is missing",
        "  line 17, column 5, fruits › apricot › colour: is written twice, first in line 16; rename or remove one",
        "  line 18, fruits › apricot › friends › 1: must be text, got 4; put it in quotes",
    ]


def test_the_fields_named_are_those_of_the_right_level() -> None:
    assert "line 1, best › size: is not a known field; known: name, colour, seeds, friends" in mistakes(
        "best: {name: fig, colour: red, size: 2}\nfruits: {}"
    )


@pytest.mark.parametrize("text", ["", "# nothing but a comment", "[1, 2]", "just a sentence"])
def test_text_that_is_no_mapping_is_refused(text: str) -> None:
    assert "must be fields with values" in mistakes(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("fruits: [1, 2\nowner: x", "line 2"),
        ("owner: a: b", "line 1"),
        ("fruits:\n\tapple: 1", "line 2"),
        ("owner: !!python/object:os.system x", "line 1"),  # only plain data is read
        ("a: 1\n---\nb: 2", "line 2"),
    ],
)
def test_text_that_is_not_plain_yaml_is_refused_with_its_line(text: str, place: str) -> None:
    message = mistakes(text)
    assert message.startswith("basket.yaml: 1 mistake")
    assert "not valid YAML" in message
    assert place in message


def test_aliases_may_point_anywhere() -> None:
    text = "fruits:\n  apple: &a {name: apple, colour: red}\n  copy: *a\n  more: {<<: *a, name: more}\n"
    assert list(yaml_errors.load(Basket, text, "basket.yaml").fruits) == ["apple", "copy", "more"]
    assert "apple: is written twice" in mistakes("fruits:\n  apple: &a {name: apple, colour: red}\n  apple: *a")


def test_records_made_in_python_say_the_same() -> None:
    with pytest.raises(SelfrepError, match=r"(?s)Fruit: 2 mistakes.*colour: must be one of.*colors: is not"):
        Fruit(name="apple", colour="blue", colors=3)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match=r"none\.yaml: No such file.*YAML file"):
        yaml_errors.read_text(tmp_path / "none.yaml")
    with pytest.raises(SelfrepError, match="Cannot read"):
        yaml_errors.read_text(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SelfrepError, match="not UTF-8"):
        yaml_errors.read_text(tmp_path / "binary.yaml")
