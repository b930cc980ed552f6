"""A line that fits, and a table that holds nothing but text."""

from __future__ import annotations

from dataclasses import dataclass

from selfrep.prompts.shown import WIDTH, line, shown, table


def test_a_line_names_what_is_there() -> None:
    assert line("Item", {"name": "who", "n": 3, "empty": "", "none": None, "no": (), "zero": 0}) == (
        "Item(name='who', n=3, zero=0)"
    )


def test_a_long_line_is_cut_and_stays_one() -> None:
    for length in (WIDTH - 20, WIDTH - 12, WIDTH - 11, WIDTH, 10_000):
        text = line("Noun", {"a": "x" * length})
        assert len(text) <= WIDTH
        assert text.endswith(")")
        assert ("…" in text) == (len("Noun(a='')") + length > WIDTH)
    assert "\n" not in line("Noun", {"a": "two\nlines"})


def test_a_table_is_escaped_and_short() -> None:
    html = table("No<un", {"a<b": "<i>&", "long": "x" * 10_000})
    assert "<i>" not in html
    assert "&lt;i&gt;&amp;" in html
    assert "a&lt;b" in html
    assert "No&lt;un" in html
    assert len(html) < 1000


def test_a_decorated_class_shows_the_facts_and_is_what_it_was() -> None:
    @shown(lambda self: {"name": self.name})
    @dataclass(frozen=True)
    class Noun:
        name: str
        weight: int = 3

    assert repr(Noun("a")) == str(Noun("a")) == "Noun(name='a')"
    assert "<td" in Noun("a")._repr_html_()
    assert Noun("a") == Noun("a")
