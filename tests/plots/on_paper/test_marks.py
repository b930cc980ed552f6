"""Marks stand where their numbers are, and look as they do on the screen."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure

from selfrep.plots.on_paper import marks


def drawn(*traces: object) -> object:
    ax = Figure().add_subplot()
    marks.draw(ax, list(enumerate(traces)))
    return ax


def test_colours_and_dashes_are_plotlys() -> None:
    assert marks.colour("rgba(255,0,51,0.5)") == pytest.approx((1, 0, 0.2, 0.5))
    assert marks.colour("#0072B2", 0.5)[3] == 0.5
    assert marks.dashes("6px,2px") == (0, (4.5, 1.5))
    assert marks.dashes(None) == marks.dashes("solid") != marks.dashes("dash") != marks.dashes("dot")


def test_lines_and_whiskers_are_where_the_numbers_are() -> None:
    bars = {"type": "data", "array": [1.0, 2.0], "arrayminus": [0.5, 0.25]}
    ax = drawn(
        go.Scatter(x=[1, 2], y=[3, None], mode="lines"), go.Scatter(x=[1, 2], y=[3, 4], mode="markers", error_x=bars)
    )
    line = ax.lines[0]
    np.testing.assert_array_equal(line.get_ydata(), [3, np.nan])
    (whiskers,) = ax.collections
    ends = [segment[:, 0].tolist() for segment in whiskers.get_segments()]
    assert ends == [[0.5, 2.0], [1.75, 4.0]]


def test_bars_stack_to_either_side_of_zero() -> None:
    bar = {"y": [0.0], "orientation": "h", "marker": {"color": "#0072B2"}}
    ax = drawn(go.Bar(x=[2.0], **bar), go.Bar(x=[-1.0], **bar), go.Bar(x=[3.0], **bar))
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches]
    assert spans == [(0, 2), (0, -1), (2, 5)]


def test_many_plain_lines_are_told_apart_by_marks_and_two_are_not() -> None:
    lines = [go.Scatter(x=[1, 2], y=[k, k], mode="lines", name=str(k)) for k in range(4)]
    assert marks.line_marks(list(enumerate(lines[:2]))) == {}
    assert len(set(marks.line_marks(list(enumerate(lines))).values())) == 4
    lines[0].line.dash = "dash"
    assert 0 not in marks.line_marks(list(enumerate(lines))), "one that is broken is known by that"
