"""One file that asks nothing of the network, and in which a name is text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.validation.cards import card, examination, external

from selfrep.validation.maps import Mark
from selfrep.validation.page import errors, page, ranks, write


def without_library(text: str) -> str:
    """The page but for its longest script, plotly itself."""
    longest = max(re.findall(r"<script>.*?</script>", text, flags=re.DOTALL), key=len)
    return text.replace(longest, "")


def test_the_page_needs_no_network_and_shows_every_row() -> None:
    made = card(examination(t=0.5))
    text = without_library(page(made)).replace("\u00a0", " ")
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    for row in made.rows:
        assert row.what.replace("<", "&lt;") in text
    assert "What was missed" in text
    assert "What was missed" not in page(card())


def test_models_from_elsewhere_are_on_the_page() -> None:
    evil = "Tracr </td><script>alert(1)</script>"
    text = without_library(page(card(others=(external(), external(evil)))))
    assert "External truth" in text
    assert "Tracr reverse, 32 pairs" in text
    assert "Tracr, 2 models" in text
    assert "2 from elsewhere" in text
    assert "<script>alert" not in text
    assert "External truth" not in without_library(page(card()))


def test_a_name_is_text() -> None:
    evil = "</script><script>alert(1)</script>"
    one = examination()
    made = card(replace(one, marks=(*one.marks, Mark(evil, "causal", 0.5, 0.5))), own=(evil,))
    text = without_library(page(made)).replace("\u00a0", " ")
    assert "<script>alert" not in text
    assert "&lt;/script&gt;" in text
    for drawing in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, flags=re.DOTALL):
        json.loads(drawing)


def test_figures_hold_every_number() -> None:
    organisms = (examination(t=0.9), examination(b=0.5))
    shown = [x for trace in ranks(organisms).data for x in trace.x]
    assert sorted(shown) == sorted(mark.auroc for one in organisms for mark in one.marks)
    drawn = errors(organisms)
    off = sorted(round(y, 6) for trace in drawn.data for y in trace.y)
    assert off == [0.0, 0.0, 0.0, 0.1]
    (wrong,) = [trace for trace in drawn.data if "wrong" in trace.name and len(trace.y)]
    assert list(wrong.y) == pytest.approx([0.1])


def test_three_files_are_written(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "out"
    assert write(card(), place) == place / "validation.html"
    assert {path.name for path in place.iterdir()} == {"validation.html", "validation.md", "scores.csv"}
