"""Columns keep their tokens, segments and order, and names on them do not run into one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from selfrep.plots.panels import Panel, Places, bracket, grid, heading, layer_ticks, not_identified, place_axis
from selfrep.plots.text import reach
from selfrep.plots.theme import TINY

PANEL = Panel(1, 1, "x", "y")


def test_places_say_token_position_and_segment(separation: Callable[..., xr.Dataset]) -> None:
    places = Places.of(separation())
    assert places.labels == ("&lt;|im_start|&gt;", "user", "⏎", "Who", "␣", "&#36;x&#36;", "a")
    assert places.names[3] == "position −4 “␣Who”, question"
    assert places.brackets() == [("template", 0, 2), ("question", 3, 4), ("prefill", 5, 6)]


def test_where_prompts_disagree_the_position_stands_instead(effects: Callable[..., xr.Dataset]) -> None:
    both, one = Places.of(effects()), Places.of(effects(), pair=4)
    assert (both.labels[-1], one.labels[-1]) == ("−1", "the")
    blank = effects().assign_coords(segment_of=(("pair", "position"), [["mixed"] * 7] * 5))
    assert Places.of(blank).brackets() == []


def test_segments_are_columns_of_their_own(transfer: Callable[..., xr.Dataset]) -> None:
    places = Places.of(transfer("segment"))
    assert places.labels == ("all", "template", "question", "prefill", "last")
    assert places.brackets() == []


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["template", "question", "prefill", "", "system"]), min_size=1, max_size=30))
def test_brackets_tile_the_clear_columns_and_their_names_keep_apart(segments: list[str]) -> None:
    places = Places(("t",) * len(segments), ("t",) * len(segments), tuple(segments))
    covered = [i for _, first, last in places.brackets() for i in range(first, last + 1)]
    assert covered == [i for i, s in enumerate(segments) if s]
    fig, room = go.Figure(), 200.0
    bracket(fig, PANEL, places, room)
    assert [(s.x0, s.x1) for s in fig.layout.shapes] == [(a - 0.4, b + 0.4) for _, a, b in places.brackets()]
    each = room / len(segments)
    middles = {(name, (first + last + 1) / 2 * each) for name, first, last in places.brackets()}
    for a in fig.layout.annotations:
        middle, half = (a.x + 0.5) * each, reach(a.text, TINY) / 2
        assert half <= middle <= room - half, "no name leaves its panel"
        nearest = min(abs(middle - own) for name, own in middles if name == a.text)
        assert nearest < 1e-9 or min(middle - half, room - half - middle) < 2.1, "only one at an edge moves"
    boxes = [(a.yshift, (a.x + 0.5) * each, reach(a.text, TINY)) for a in fig.layout.annotations]
    for i, (row, middle, width) in enumerate(boxes):
        for other_row, other, its_width in boxes[:i]:
            assert row != other_row or abs(middle - other) >= (width + its_width) / 2


@settings(max_examples=40)
@given(st.integers(1, 200), st.floats(60, 500))
def test_labels_fit_and_the_last_token_always_has_one(n: int, room: float) -> None:
    names = tuple(f"t{i}" for i in range(n))
    frame = grid(1, 1, left=0.0, right=0.0)
    place_axis(frame.fig, frame.panels[0], Places(names, names, ("question",) * n), room)
    shown = frame.fig.layout.xaxis
    assert np.all(np.diff(shown.tickvals) * room / n >= TINY)
    assert shown.ticktext[-1] == names[-1]
    assert [names[i] for i in shown.tickvals] == list(shown.ticktext)
    assert tuple(shown.range) == (-0.5, n - 0.5), "the first token at the left"


@settings(max_examples=40)
@given(st.lists(st.integers(0, 120), min_size=1, max_size=120, unique=True).map(sorted), st.floats(60, 400))
def test_layers_are_labelled_where_they_are(layers: list[int], room: float) -> None:
    ticks = layer_ticks(layers, room, 20.0)
    assert [str(layers[i]) for i in ticks["tickvals"]] == ticks["ticktext"]  # type: ignore[attr-defined]
    assert ticks["ticktext"]
    assert ticks["range"] == [-0.5, len(layers) - 0.5], "the first layer below, the last on top, each whole"


def test_nothing_to_draw_is_said_in_words() -> None:
    fig = not_identified("T", "too <weak>")
    assert "Not identified" in fig.layout.annotations[0].text
    assert "too &lt;weak&gt;" in fig.layout.annotations[0].text
    assert not fig.data


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 2, 1), (5, 3, 2), (3, 1, 3)])
def test_panels_are_equal_and_inside_the_page(n: int, columns: int, rows: int) -> None:
    frame = grid(n, columns, left=40.0, right=20.0)
    frame.height(100.0, 30.0)
    assert (len(frame.panels), frame.rows) == (n, rows)
    width = min(n, columns)
    assert [(panel.row, panel.column) for panel in frame.panels] == [(k // width + 1, k % width + 1) for k in range(n)]
    tops, sizes = [], []
    for panel in frame.panels:
        domain = frame.fig.layout[panel.y.replace("y", "yaxis")].domain or (0, 1)
        assert 0 <= domain[0] < domain[1] <= 1
        sizes.append(domain[1] - domain[0])
        tops.append((panel.row, domain[1]))
    np.testing.assert_allclose(sizes, sizes[0])
    of_row = dict(tops)
    assert len(of_row) == len(set(tops)) == rows
    assert list(of_row.values()) == sorted(of_row.values(), reverse=True), "the first row is on top"


def test_odd_layers_are_labelled_by_their_fives() -> None:
    assert layer_ticks(range(1, 30, 2), 100.0, 20.0)["ticktext"] == ["5", "15", "25"]


def test_a_heading_stands_over_the_left_end_of_its_own_panel() -> None:
    frame = grid(4, 2, left=40.0, right=20.0)
    for panel in frame.panels:
        heading(frame.fig, panel, panel.x, 5.0)
    for panel, said in zip(frame.panels, frame.fig.layout.annotations, strict=True):
        assert said.text == f"<b>{panel.x}</b>"
        assert (said.xref, said.yref) == (f"{panel.x} domain", f"{panel.y} domain")
        assert (said.x, said.y, said.xanchor, said.yanchor, said.yshift) == (0, 1, "left", "bottom", 5.0)
