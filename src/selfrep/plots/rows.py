"""What figures with a row for each item share: marks with their intervals, or the words "not identified" with the
reason on hover; the items' names at the left; and a line above the means over several items, whose names are bold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from selfrep.plots.panels import LANDMARK
from selfrep.plots.text import hover, plain, reach, shorten, words, wrap
from selfrep.plots.theme import FAINT, INK, SMALL, SOFT

Array = np.ndarray

ROW = 21.0
"""The height of a row (px)."""
APART = 0.17
"""How far a value and its control stand above and below the middle of their row, in rows."""
_LONGEST = 34


@dataclass(frozen=True)
class Marks:
    """One kind of mark: its name in the legend, its look, how far `up` it stands in its row; and for each item what
    hover says (escaped), and the value with its interval."""

    name: str
    colour: str
    symbol: str
    up: float
    hover: Sequence[str]
    value: Array
    low: Array
    high: Array


def heights(n: int) -> Array:
    """Where the rows stand: the first on top."""
    return np.arange(n)[::-1].astype(float)


def draw(names: Sequence[str], gate: Array, reasons: Sequence[str], pooled: Array, marks: Sequence[Marks]) -> go.Figure:
    """The rows of a figure, still without horizontal axis and title.

    Args:
        names, reasons: of the items, raw; gate: which of them show their marks.
        pooled: which of them are means over several items.
    """
    height, fig = heights(len(names)), go.Figure()
    for kind in marks:
        fig.add_trace(
            go.Scatter(
                x=kind.value[gate],
                y=height[gate] + kind.up,
                mode="markers",
                name=kind.name,
                showlegend=len(marks) > 1,
                marker={
                    "color": kind.colour,
                    "size": 7,
                    "symbol": kind.symbol,
                    "line": {"width": 1.4, "color": kind.colour},
                },
                error_x=whiskers(kind.value[gate], kind.low[gate], kind.high[gate], kind.colour),
                **hover(text for text, identified in zip(kind.hover, gate, strict=True) if identified),
            )
        )
    closed = np.flatnonzero(~gate)
    fig.add_trace(
        go.Scatter(
            x=np.zeros(len(closed)),
            y=height[closed],
            mode="markers+text",
            name="not identified",
            showlegend=False,
            marker={"symbol": "x-thin", "size": 5, "line": {"width": 1.2, "color": SOFT}},
            text=["not identified"] * len(closed),
            textposition="middle right",
            textfont={"size": SMALL, "color": SOFT, "style": "italic"},
            hovertext=[f"<b>{plain(names[i])}: not identified</b><br>{wrap(reasons[i], 60)}" for i in closed.tolist()],
            hovertemplate="%{hovertext}<extra></extra>",
            cliponaxis=False,
        )
    )
    for i in np.flatnonzero(pooled[1:] & ~pooled[:-1]) + 1:
        fig.add_hline(height[i] + 0.5, line={"color": FAINT, "width": 1})
    bold = [f"<b>{text}</b>" if several else text for text, several in zip(_labels(names), pooled, strict=True)]
    label_rows(fig, bold, height, gap=7.0)
    return fig


def whiskers(value: Array, low: Array, high: Array, colour: str, thickness: float = 1.4) -> dict[str, object]:
    """The intervals of marks, as bars to either side."""
    return {
        "type": "data",
        "symmetric": False,
        "array": high - value,
        "arrayminus": value - low,
        "thickness": thickness,
        "width": 0,
        "color": colour,
    }


def label_rows(fig: go.Figure, labels: Sequence[str], height: Array, *, gap: float = 5.0) -> None:
    """Write the labels (escaped) of rows at the left, `gap` px off the marks at zero."""
    fig.update_yaxes(
        tickmode="array",
        tickvals=height,
        ticktext=labels,
        range=[-0.6, len(labels) - 0.4],
        ticklen=gap,  # unseen
        tickcolor="rgba(0,0,0,0)",
        showline=False,
        tickfont={"size": SMALL, "color": INK},
    )


def landmark(fig: go.Figure, x: float, text: str, **style: object) -> None:
    """An upright line through all rows, its meaning above it."""
    fig.add_vline(x=x, line={"color": SOFT, "width": 1}, layer="below")
    place = {"x": x, "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 2, "showarrow": False}
    fig.add_annotation(place | {"font": {"size": SMALL, "color": SOFT}} | style, text=text, name=LANDMARK)


def margin(names: Sequence[str]) -> float:
    """The room that the names need at the left (px)."""
    return max(reach(text, SMALL) for text in _labels(names)) + 26


def _labels(names: Sequence[str]) -> list[str]:
    return [words(shorten(name, _LONGEST)) for name in names]
