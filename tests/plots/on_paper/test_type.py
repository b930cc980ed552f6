"""Texts are as wide as they were measured, and say what was written."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfrep.plots.on_paper.fonts import families
from selfrep.plots.on_paper.type import bare, extent, legible, points, shortened, wide, wrapped
from selfrep.plots.text import plain


@given(st.text(alphabet="ab<>&$%{} ", min_size=1))
def test_what_was_escaped_comes_back_and_is_no_markup(text: str) -> None:
    assert bare(plain(text)) == (text, False)
    assert bare(f"<b>{plain(text)}</b>") == (text, True)


def test_what_no_font_has_is_told_by_its_number() -> None:
    assert legible("naïve ⏎␣") == "naïve ⏎␣"
    assert legible("a\U0010fff0\U0010fff1b") == "a‹10FFF0 10FFF1›b"
    assert families()[-1] in mpl.font_manager.get_font_names()


@given(st.lists(st.sampled_from(["a", "word", "averyveryverylongword"]), min_size=1, max_size=8), st.floats(0.5, 2.0))
def test_lines_are_within_their_room_and_lose_nothing(words: list[str], room: float) -> None:
    lines = wrapped(" ".join(words), 8.0, room).split("\n")
    assert all(wide(line, 8.0) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == "".join(words)


@pytest.mark.parametrize("room", [0.3, 0.5, 1.0])
def test_a_cut_name_keeps_both_ends(room: float) -> None:
    cut = shortened("the captain of a ship", 8.0, room)
    assert wide(cut, 8.0) <= room
    assert "…" in cut
    assert (cut[0], cut[-1]) == ("t", "p")


def test_bold_is_wider_and_larger_is_higher() -> None:
    assert wide("word", 8.0, bold=True) > wide("word", 8.0)
    assert extent("word", 16.0)[1] == pytest.approx(2 * extent("word", 8.0)[1], rel=0.1)
    with mpl.rc_context({"font.size": 8.0, "axes.titlesize": "large"}):
        assert points("axes.titlesize") == pytest.approx(9.6)
