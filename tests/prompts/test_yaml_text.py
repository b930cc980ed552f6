"""Hostile YAML is refused with its place, before it costs anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors, yaml_text

_STEPS = list(zip("abcdefgh", "bcdefghi", strict=True))
BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in _STEPS
)
MERGED = "a: &a {k: 1}\n" + "".join(
    f"{after}: &{after} {{<<: *{before}, x: [{', '.join([f'*{before}'] * 20)}]}}\n" for before, after in _STEPS
)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (BOMB, "line 5, column 32", "with aliases spelled out"),
        (MERGED, "line 5, column ", "with aliases spelled out"),
        ("x:\n  a: " + "[" * 20_000, "line 2, column 53", "inside one another"),
        ("x:\n  a: " + "{a: " * 400_000, "line 2, column ", "inside one another"),
        ("".join(" " * i + "a:\n" for i in range(600)), "line 50", "inside one another"),
        ("a: &a\n  b: *a\n", "line 2, column 6", "*a contains itself"),
        ("- x\n" * 60_000, "line 50000, column 3", "more than 50,000 entries"),
        ("a" * 2_000_001, "the whole file", "more than 2,000,000 characters"),
        ("a: 1\nb: 0b_", "line 2, column 4", "'0b_' is no whole number"),
        ("a: 0x_", "line 1, column 4", "'0x_' is no whole number"),
        (f"a: {'9' * 5_000}", "line 1, column 4", "is no whole number (it has 5,000 characters)"),
        (f"a: 0x{'f' * 900_000}", "line 1, column 4", "is no whole number (it has 900,002 characters)"),
        (f"a: 1{':59' * 300_000}", "line 1, column 4", "is no whole number"),
        (f"a: 1.{'0' * 900_000}", "line 1, column 4", "is no number"),
        ("a: 2023-13-45", "line 1, column 4", "'2023-13-45' is no date"),
        ("a: 2023-02-29T25:61:61", "line 1, column 4", "is no date"),
        ("? [1]\n: 2", "line 1, column 3", "unhashable"),
        ("a: !!python/object/apply:os.system [ls]", "line 1, column 4", "could not determine a constructor"),
        ("a: !!timestamp x", "line 1, column 4", "is no date"),
        ("a: !!int x", "line 1, column 4", "is no whole number"),
        ("a: !!bool maybe", "line 1, column 4", "is no truth value"),
        ("a: *b", "line 1, column 4", "undefined alias"),
        ("a: b: c", "line 1, column 5", "mapping values"),
        ("a: 1\nb: \x07", "line 2, column 4", ""),
        ("a: 1\n---\nb: 2", "line 2, column 1", "another document"),
    ],
)
def test_it_is_refused_with_its_place_in_less_than_a_second(text: str, place: str, words: str) -> None:
    began = time.process_time()
    with pytest.raises(SelfrepError, match=r"mine\.yaml: 1 mistake") as caught:
        yaml_errors.plain(text, "mine.yaml")
    assert time.process_time() - began < 1
    message = str(caught.value)
    assert f"  {place}" in message
    assert words in message
    assert len(message) < 300


def test_what_people_write_is_read_as_before() -> None:
    text = "a: &x [1, 2.5, 0b11, 0x1F, 1_000]\nb: *x\nc: {<<: {d: 2024-07-26, e: yes}, f: ~}\ng: 'x'\n"
    assert yaml_errors.plain(text, "mine.yaml") == yaml.safe_load(text)
    deep = "[" * 45 + "]" * 45
    assert yaml_errors.plain(deep, "mine.yaml") == yaml.safe_load(deep)
    assert yaml_errors.plain("", "mine.yaml") is None


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(SelfrepError, match="more than 2,000,000 characters"):
        yaml_errors.plain(*yaml_errors.read_text("/dev/zero"))


def test_no_more_is_read_of_a_file_than_is_taken(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("é" * 3_000_000)
    assert yaml_text.MOST_CHARACTERS < len(yaml_text.read(tmp_path / "long")) <= 3_000_000
