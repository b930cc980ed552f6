"""The same rows for the terminal, for the documentation and as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console
from tests.validation.cards import card, examination, external

from selfrep.validation.maps import Mark
from selfrep.validation.tables import cells, markdown, summary, table, terminal


def printed(*parts: object, width: int = 240) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_terminal_says_what_was_missed() -> None:
    text = printed(*terminal(card(examination(t=0.5))))
    assert "missed: AUROC of |T| (easy), wanted ≥ 0.99" in text
    assert "MISS" in text
    assert "MISS" not in printed(*terminal(card()))


@pytest.mark.parametrize("width", [60, 80])
def test_the_terminal_breaks_no_word_and_drops_none(width: int) -> None:
    """At whatever width a row is there with all its numbers."""
    narrow, wide = printed(*terminal(card()), width=width), printed(*terminal(card()))
    assert max(map(len, narrow.splitlines())) <= width
    assert sorted(narrow.split()) == sorted(wide.split())


def test_markup_in_a_name_is_text() -> None:
    one = examination()
    odd = replace(one, marks=(*one.marks, Mark("[red]a|b<i>", "causal", 0.5, 0.5)))
    made = card(odd, own=("[red]a|b<i>",))
    assert "[red]a|b<i>" in printed(*terminal(made))
    assert "[red]a\\|b&lt;i>" in markdown(made)


def test_models_from_elsewhere_have_a_part_of_their_own_and_no_threshold() -> None:
    made = card(others=(external(), external("InterpBench [red]a|b<i>", 0.4)))
    text = printed(*terminal(made))
    assert "External truth" in text
    assert "Tracr reverse, 32 pairs" in text
    assert "1 of 2 heads and MLPs" in text
    assert "attribution alone 0.25" in text
    assert "[red]a|b<i>" in text
    assert made.passed
    assert "on 2 organisms and 2 from elsewhere, in 12 s" in text
    assert "on 2 organisms, in 12 s" in printed(*terminal(card())), "the control"
    assert "on 2 organisms of seeds from 7, in 12 s" in printed(*terminal(replace(card(), seed=7)))
    shown = markdown(made)
    assert "| AUROC of \\|T\\| | Tracr reverse, 32 pairs | 1 of 2 heads and MLPs | 0.900 |" in shown
    assert "[red]a\\|b&lt;i>" in shown
    assert "External truth,AUROC of |T|" in table(made)


def test_every_row_of_the_markdown_has_every_column() -> None:
    made = card()
    lines = [line for line in markdown(made).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert len(lines) == len(made.rows) + 2 * len({row.part for row in made.rows})
    assert summary(made) in markdown(made)


def test_csv_holds_the_numbers_in_full() -> None:
    made = card(examination(b=0.4123456789))
    read = list(csv.DictReader(io.StringIO(table(made))))
    assert len(read) == len(made.rows)
    (row,) = [row for row in read if row["what"].startswith("β, bleed")]
    assert float(row["score"]) == 0.4123456789


def test_numbers_are_short() -> None:
    (row,) = [row for row in card().rows if row.what.startswith("wrong answers")]
    assert cells(row)[3:6] == ("0.000", "0.000 to 0.000", str(row.n))
