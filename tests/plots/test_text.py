"""Whatever a user or a tokenizer wrote is shown, and never read as markup."""

from __future__ import annotations

import html

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from selfrep.plots.text import (
    exact_token,
    integer,
    interval,
    labels_of,
    plain,
    shorten,
    side_words,
    token,
    words,
    wrap,
)


@given(st.text())
def test_an_escaped_text_holds_no_markup_and_comes_back(text: str) -> None:
    escaped = plain(text)
    assert not set(escaped) & set("<>$")
    assert html.unescape(plain(html.unescape(text))) == html.unescape(text)


@given(st.text(max_size=40))
def test_tokens_are_short_visible_and_never_empty(text: str) -> None:
    shown = token(text, 14)
    assert not set(shown) & set("<>$\n\t ")
    assert len(html.unescape(shown)) <= 14 or "&" in text  # what looks like an entity is not one
    assert bool(shown) == bool(text)


@pytest.mark.parametrize(
    ("text", "axis", "hover"),
    [
        ("\n", "⏎", "⏎"),
        (" ", "␣", "␣"),
        ("  ", "␣␣", "␣␣"),
        (" am", "am", "␣am"),
        ("\t", "⇥", "⇥"),
        ("\r\n", "⏎", "⏎"),
        ("\ufffd", "\ufffd", "\ufffd"),
        ("\x00", "\ufffd", "\ufffd"),
        ("<|im_end|>", "&lt;|im_end|&gt;", "&lt;|im_end|&gt;"),
    ],
)
def test_blanks_are_seen(text: str, axis: str, hover: str) -> None:
    assert (token(text), exact_token(text)) == (axis, hover)


@given(st.text(), st.integers(3, 30))
def test_shortening_keeps_both_ends(text: str, longest: int) -> None:
    cut = shorten(text, longest)
    assert len(cut) <= longest
    assert cut == text if len(text) <= longest else (cut[0], cut[-1]) == (text[0], text[-1])


def test_numbers_carry_their_interval_when_there_is_one() -> None:
    assert interval(0.5, 0.25, 0.75) == "0.5 [0.25, 0.75]"
    assert interval(-0.5) == "−0.5"
    assert interval(np.nan, np.nan, np.nan) == "–"
    assert integer(-3) == "−3"


def test_slugs_become_words_and_long_texts_lines() -> None:
    assert words("old_ai") == "old ai", "a label says how it is written"
    assert words("a_<b>") == "a &lt;b&gt;"
    assert wrap("one <two> three", 9).split("<br>") == ["one &lt;two&gt;", "three"]


def test_what_has_a_label_is_called_by_it_and_the_rest_by_its_name() -> None:
    kinds = xr.Dataset(coords={"kind": ("who", ["con_man", "ai", "ai"])})
    assert labels_of(kinds, "kind") == {"con_man": "con man", "ai": "ai"}
    named = kinds.assign_coords(kind_label=("who", ["con_man", "<AIs>", "<AIs>"]))
    assert labels_of(named, "kind") == {"con_man": "con man", "ai": "&lt;AIs&gt;"}
    assert side_words(xr.Dataset(attrs={"sides": ["con_men", "ai"]})) == ["con men", "ai"]
    assert side_words(xr.Dataset(attrs={"sides": ["a", "b"], "side_labels": ["<A>", "B"]})) == ["&lt;A&gt;", "B"]
    assert side_words(xr.Dataset()) == []
