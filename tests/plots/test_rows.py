"""Each item has its row: its marks, or the reason why there are none; and a line where the means begin."""

from __future__ import annotations

import numpy as np
from tests.plots.reading import labels

from selfrep.plots import rows
from selfrep.plots.rows import Marks

NAMES = ("who_<b>", "what", "where", "all")
GATE = np.array([True, False, True, True])
POOLED = np.array([False, False, False, True])
REASONS = ("", "too <weak>", "", "")


def marks(name: str, up: float = 0.0) -> Marks:
    value = np.arange(4.0)
    return Marks(name, "#000000", "circle", up, [f"said {i}" for i in range(4)], value, value - 0.5, value + 1)


def test_marks_stand_in_the_row_of_their_item_with_their_interval_and_their_words() -> None:
    fig = rows.draw(NAMES, GATE, REASONS, POOLED, [marks("own", rows.APART), marks("control", -rows.APART)])
    axis = labels(fig.layout.yaxis)
    assert [axis[h] for h in rows.heights(4)] == ["who &lt;b&gt;", "what", "where", "<b>all</b>"]
    for trace, up in zip(fig.data[:2], (rows.APART, -rows.APART), strict=True):
        np.testing.assert_allclose(np.subtract(trace.y, up), [3, 1, 0])
        assert (list(trace.x), list(trace.text)) == ([0, 2, 3], ["said 0", "said 2", "said 3"])
        assert set(trace.error_x.array) == {1.0}
        assert set(trace.error_x.arrayminus) == {0.5}
        assert (trace.marker.color, trace.error_x.color, trace.marker.symbol) == ("#000000", "#000000", "circle")
        assert trace.showlegend
    assert not rows.draw(NAMES, GATE, REASONS, POOLED, [marks("own")]).data[0].showlegend


def test_a_closed_row_says_why() -> None:
    fig = rows.draw(NAMES, GATE, REASONS, POOLED, [marks("own")])
    closed = fig.data[-1]
    assert (list(closed.x), list(closed.y), list(closed.text)) == ([0], [2], ["not identified"])
    assert "too &lt;weak&gt;" in closed.hovertext[0]


def test_a_line_parts_the_means_from_what_they_are_made_of() -> None:
    (line,) = rows.draw(NAMES, GATE, REASONS, POOLED, [marks("own")]).layout.shapes
    assert line.y0 == line.y1 == 0.5
    for alike in (np.ones(4, bool), np.zeros(4, bool)):
        assert not rows.draw(NAMES, GATE, REASONS, alike, [marks("own")]).layout.shapes


def test_the_margin_grows_with_the_longest_name_up_to_a_limit() -> None:
    short, long, longer = (rows.margin(["a", "b" * n]) for n in (4, 30, 300))
    assert short < long < longer < 2 * long
