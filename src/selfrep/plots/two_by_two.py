"""Two by two: what one thing does where another is absent and where it is present. Parallel lines: no interaction.

These are observations, not estimates: they are drawn whether or not what they were made for is identified.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import plotly.graph_objects as go

from selfrep.plots.panels import NOTE, grid, heading, write
from selfrep.plots.text import hover, plain
from selfrep.plots.theme import GRID, HEAD, SMALL, SOFT, Words, finish, legend_below
from selfrep.stats.numbers import number

Array = np.ndarray

_LEFT, _RIGHT, _EACH, _BOTTOM = 60.0, 14.0, 170.0, 64.0
_LEAST = 1.0
"""The least that an axis spans (nats), lest a hair look like a slope."""


@dataclass(frozen=True)
class Line:
    """One line of every panel: its name, its look, and its two values [panel, 2]."""

    name: str
    colour: str
    dash: str
    values: Array


def draw(
    lines: Sequence[Line],
    headings: Sequence[str],
    notes: Sequence[str],
    *,
    ends: tuple[str, str],
    axis: str,
    **words: Unpack[Words],
) -> go.Figure:
    """Draw the lines of every panel.

    Args:
        headings, notes: of the panels; headings escaped, notes raw.
        ends: what stands at the left and at the right end of each line.
        axis: what the values are.
    """
    frame = grid(len(headings), 2, left=_LEFT, right=_RIGHT, gap=30.0)
    fig = frame.fig
    for i, panel in enumerate(frame.panels):
        for line in lines:
            fig.add_trace(
                go.Scatter(
                    x=[0, 1],
                    y=line.values[i],
                    mode="lines+markers",
                    name=line.name,
                    legendgroup=line.name,
                    showlegend=i == 0,
                    line={"color": line.colour, "width": 2.2, "dash": line.dash},
                    marker={"size": 8, "color": line.colour},
                    **hover(
                        f"<b>{plain(line.name)}, {plain(end)}: {number(float(y))} nats</b>"
                        for end, y in zip(ends, line.values[i], strict=True)
                    ),
                ),
                **panel.at,
            )
        heading(fig, panel, headings[i], 20.0)
        place = {"xanchor": "left", "yanchor": "bottom", "xshift": -3, "yshift": 4}
        write(fig, panel, plain(notes[i]), **place, font={"size": SMALL, "color": SOFT}, name=NOTE)
        fig.update_yaxes(title_text=axis if panel.column == 1 else None, **panel.at)
    inner = frame.height(_EACH, 70.0)
    fig.update_xaxes(tickvals=[0, 1], ticktext=[plain(end) for end in ends], range=[-0.25, 1.25])
    values = np.concatenate([line.values.ravel() for line in lines])
    middle, half = (values.max() + values.min()) / 2, max(_LEAST, 1.16 * np.ptp(values)) / 2
    fig.update_yaxes(GRID, nticks=6, range=[middle - half, middle + half])
    fig.update_layout(legend=legend_below(3))
    above = 40.0 if any(headings) else 26.0
    return finish(
        fig,
        **words,
        height=HEAD + above + inner + _BOTTOM,
        margin={"l": _LEFT, "r": _RIGHT, "t": HEAD + above, "b": _BOTTOM},
    )
