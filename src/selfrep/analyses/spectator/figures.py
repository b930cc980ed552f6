"""Foresight against bleed: a point a persona, in the plane whose corners are separation and conflation."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.panels import not_identified
from selfrep.plots.points import LEFT, RIGHT, View, write_names
from selfrep.plots.text import by_label, cell_interval, hover, plain, reach, reasons
from selfrep.plots.theme import FAINT, GRID, HEAD, OWN, SMALL, SOFT, finish

CORNERS = (
    ((0.0, 1.0), "separate: foreseen, kept out", "left"),
    ((1.0, 1.0), "foreseen, and let in", "right"),
    ((0.0, 0.0), "neither", "left"),
    ((1.0, 0.0), "conflated: let in, not foreseen", "right"),
)


def spectator_plane(spectator: xr.Dataset) -> go.Figure:
    """Each persona's foresight (upwards) against its bleed (to the right), from `spectator`."""
    title = "What is foreseen of a persona, and what is let in of it"
    shares = ("bleed", "foresight")
    points = np.stack([spectator[name].to_numpy().astype(float) for name in shares], axis=1)
    shown = np.isfinite(points).all(axis=1)
    if not shown.any():
        return not_identified(title, reasons(spectator.persona_reason))
    one = by_label(spectator.isel(persona=np.flatnonzero(shown)))
    view = View.of(np.vstack([points[shown], [corner for corner, *_ in CORNERS]]))
    names = [plain(name) for name in one.persona.to_numpy()]
    said = [
        f"<b>{name}</b><br>foreseen: {cell_interval(one.isel(persona=i), 'foresight')}<br>"
        f"let in: {cell_interval(one.isel(persona=i), 'bleed')}"
        for i, name in enumerate(names)
    ]
    fig = go.Figure()
    ends = [
        [np.abs(one[name].to_numpy() - one[f"{name}_ci_{end}"].to_numpy()) for end in ("low", "high")]
        for name in shares
    ]
    fig.add_trace(
        go.Scatter(
            x=one.bleed,
            y=one.foresight,
            mode="markers",
            marker={"color": OWN, "size": 7},
            error_x={"array": ends[0][1], "arrayminus": ends[0][0], "color": FAINT, "thickness": 1, "width": 0},
            error_y={"array": ends[1][1], "arrayminus": ends[1][0], "color": FAINT, "thickness": 1, "width": 0},
            showlegend=False,
            **hover(said),
        )
    )
    for (x, y), text, anchor in CORNERS:
        fig.add_annotation(
            x=x, y=y, text=text, showarrow=False, xanchor=anchor, yshift=_UP[anchor],
            font={"size": SMALL, "color": SOFT},
        )  # fmt: skip
        fig.add_trace(_corner(x, y))
    covered = np.vstack([points[shown], _words_of_corners(view)])
    write_names(fig, names, points[shown], covered, np.ones(len(covered)), view)
    axis = {"zeroline": False, **GRID}
    fig.update_xaxes(
        axis, title_text="let in: share of its shift in what is held true", range=[view.low[0], view.high[0]]
    )
    fig.update_yaxes(axis, title_text="foreseen: share of its answers foretold", range=[view.low[1], view.high[1]])
    left_out = int((~shown).sum())
    return finish(
        fig,
        title=title,
        subtitle=f"{int(shown.sum())} personas"
        + (f"; {left_out} that move too little are left out" if left_out else ""),
        height=HEAD + view.height + 44,
        margin={"l": LEFT, "r": RIGHT, "t": HEAD, "b": 44.0},
        caption="Each point is a persona. Upwards: how much of what it answers in character the model foretold when it "
        "was asked from outside, with nobody played (1: all of it). To the right: how far playing it moves the answers "
        "to what really produces the text, as a share of how far it moves those in character (bleed). High and left is "
        "a spectator who knows both. Low and right is a model that takes the persona for the truth. Lines: 95 % "
        "intervals.",
    )


_UP = {"left": 9, "right": -9}
"""How far the words of a corner stand above it (px): so that the two of a row never meet."""


def _words_of_corners(view: View) -> np.ndarray:
    """Points [point, 2] along the words at the corners, which names had better not cover."""
    pixel = (view.high - view.low)[0] / view.width
    points = []
    for (x, y), text, anchor in CORNERS:
        along = np.arange(0.0, reach(text, SMALL), 6.0) * (1 if anchor == "left" else -1)
        points.append(np.stack([x + pixel * along, np.full(len(along), y + pixel * _UP[anchor])], axis=1))
    return np.vstack(points)


def _corner(x: float, y: float) -> go.Scatter:
    marker = {"color": SOFT, "size": 5, "symbol": "circle-open"}
    return go.Scatter(x=[x], y=[y], mode="markers", marker=marker, showlegend=False, hoverinfo="skip")
