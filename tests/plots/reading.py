"""What a figure shows, read back from it: its marks with their intervals, its lines that are no data, its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from tests.report.groups import decimals


def named(fig: go.Figure, name: str, panel: str = "x") -> Any:
    """The one trace of this name in a panel, which goes by its horizontal axis."""
    (trace,) = (t for t in fig.data if t.name == name and (t.xaxis or "x") == panel)
    return trace


def ends(trace: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where the horizontal bars of a trace begin and end."""
    x = np.asarray(trace.x, dtype=float)
    return x - np.asarray(trace.error_x.arrayminus), x + np.asarray(trace.error_x.array)


def rules(fig: go.Figure) -> set[tuple[str, float]]:
    """Straight lines across a panel, by the axis on whose scale they stand, e.g. ("x2", 0.0)."""
    upright = {(s.xref or "x", float(s.x0)) for s in fig.layout.shapes if s.type == "line" and s.x0 == s.x1}
    level = {(s.yref or "y", float(s.y0)) for s in fig.layout.shapes if s.type == "line" and s.y0 == s.y1}
    return {(axis, at) for axis, at in upright | level if "domain" not in axis and axis != "paper"}


def labels(axis: Any) -> dict[float, str]:
    """What is written where on an axis, which must not be mirrored."""
    if axis.range is not None:
        assert axis.range[0] < axis.range[1], "an axis grows to the right, or upwards"
    assert axis.autorange in (None, True)
    return dict(zip(map(float, axis.tickvals), axis.ticktext, strict=True))


def note(fig: go.Figure, text: str) -> Any:
    """The one annotation of this text."""
    (found,) = (a for a in fig.layout.annotations if a.text == text)
    return found


def legend(fig: go.Figure) -> list[str]:
    """The names that stand in the legend, each once."""
    names = [t.name for t in fig.data if t.showlegend is not False]
    assert len(names) == len(set(names))
    return names


Look = tuple[str, tuple[str, str, str], str, str, float]
"""A kind of mark: its name, the variables of value and bounds, its colour and symbol, how far up it stands."""


def check_shares(
    fig: go.Figure, group: xr.Dataset, looks: Sequence[Look], hover: Sequence[str], between: tuple[str, str], axis: str
) -> None:
    """Every mark, line and word of a figure of shares stands where the numbers of its three items are."""
    for name, keys, colour, symbol, up in looks:
        marks = named(fig, name)
        for values, key in zip((marks.x, *ends(marks)), keys, strict=True):
            np.testing.assert_allclose(values, group[key])
        np.testing.assert_allclose(marks.y, np.array([2, 1, 0]) + up)
        assert (marks.marker.color, marks.error_x.color, marks.marker.symbol) == (colour, colour, symbol)
        for k, text in enumerate(marks.text):
            np.testing.assert_allclose(decimals(text), [float(group[key][k]) for key in (*keys, *hover)], rtol=1e-9)
            assert text.count(" nats") == 2
    assert legend(fig) == ([] if len(looks) == 1 else [name for name, *_ in looks])
    assert [labels(fig.layout.yaxis)[y].strip("</b>")[:3] for y in (2, 1, 0)] == [
        str(name)[:3] for name in group["item"].values
    ]
    assert {("x", 0.0), ("x", 1.0)} <= rules(fig)
    for x, words, side in zip((0, 1), between, ("left", "right"), strict=True):
        assert (note(fig, words).x, note(fig, words).xanchor) == (x, side), "each end's words, between the two lines"
    assert fig.layout.xaxis.title.text == axis
