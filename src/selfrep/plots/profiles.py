"""Profiles over layers: one place or segment a panel, estimates with their intervals, controls in grey. Or different
quantities one below the other, over the same layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from selfrep.plots.panels import TITLE, Grid, Panel, grid, layer_ticks, write
from selfrep.plots.text import hover, interval
from selfrep.plots.theme import (
    FAINT,
    HEAD,
    SILENT,
    SIZE,
    SMALL,
    WIDTH,
    Words,
    finish,
    legend_below,
    legend_height,
    washed,
)

Array = np.ndarray

_LEFT, _RIGHT = 50.0, 14.0


def profiles(n: int) -> Grid:
    """Panels for `n` profiles, each drawn with a `Pen`."""
    return grid(n, 2 if n in (1, 2, 4) else 3, left=_LEFT, right=_RIGHT)


def finish_profiles(
    frame: Grid, layers: Sequence[int], *, name: str, columns: int, **words: Unpack[Words]
) -> go.Figure:
    """Put axes, legend and words on profiles.

    Args:
        layers: those of the lines.
        name: of the quantity.
        columns: of the legend.
    """
    fig, each, axis, top = frame.fig, (220.0 if frame.rows == 1 else 140.0), 36.0, HEAD + SIZE + 6
    for panel in frame.panels:
        # Layers stand at their true distance here, also those of a sweep that leaves some out.
        fig.update_xaxes(layer_ticks(range(min(layers), max(layers) + 1), frame.room, 22.0), **panel.at)
        fig.update_yaxes(title_text=name if panel.column == 1 else None, **panel.at)
        # An annotation and not the axis's own title, which plotly pushes up into the ticks of the last row.
        write(fig, panel, "layer", x=0.5, y=0, yanchor="top", yshift=-18, name=TITLE)
    keys = sum(bool(trace.showlegend) for trace in fig.data)
    bottom = axis + 10 + legend_height(keys, columns)
    height = frame.height(each, axis + SIZE + 14) + top + bottom
    fig.update_layout(legend=legend_below(columns))
    margin = {"l": _LEFT, "r": _RIGHT, "t": top, "b": bottom}
    return finish(fig, **words, height=height, margin=margin, narrows=len(frame.panels) == 1)


def stack(n: int) -> Grid:
    """`n` panels one below the other, each with a vertical axis and a legend of its own, over the same layers."""
    fig = make_subplots(rows=n, cols=1, vertical_spacing=0.01 if n > 1 else 0)
    numbers = ["", *map(str, range(2, n + 1))]
    panels = (Panel(i + 1, 1, f"x{name}", f"y{name}") for i, name in enumerate(numbers))
    return Grid(fig, tuple(panels), n, WIDTH - _LEFT - _RIGHT)


def finish_stack(
    frame: Grid,
    layers: Sequence[int],
    *,
    names: Sequence[str],
    heights: Sequence[float],
    columns: int,
    **words: Unpack[Words],
) -> go.Figure:
    """Put axes, legends and words on panels one below the other.

    Args:
        layers: of all lines.
        names: of the quantities, one a panel.
        heights: of the panels (px).
        columns: of each legend, which stands below its panel.
    """
    fig, axis = frame.fig, 38.0
    keys = [sum(trace.legend == _legend(panel) for trace in fig.data if trace.showlegend) for panel in frame.panels]
    below = [axis + legend_height(count, columns) + 18 for count in keys]
    inner = sum(heights) + sum(below[:-1])
    top = inner
    for panel, name, height, room in zip(frame.panels, names, heights, below, strict=True):
        fig.update_xaxes(layer_ticks(range(min(layers), max(layers) + 1), frame.room, 22.0), **panel.at)
        fig.update_yaxes(title_text=name, domain=[max(0.0, (top - height) / inner), top / inner], **panel.at)
        write(fig, panel, "layer", x=0.5, y=0, yanchor="top", yshift=-18, name=TITLE)
        place = {"yref": "paper", "y": (top - height - axis) / inner, "yanchor": "top", "font": {"size": SMALL}}
        fig.update_layout({_legend(panel): legend_below(columns) | place})
        top -= height + room
    height = HEAD + 6 + inner + below[-1]
    margin = {"l": _LEFT, "r": _RIGHT, "t": HEAD + 6, "b": below[-1]}
    return finish(fig, **words, height=height, margin=margin, narrows=True)


def _legend(panel: Panel) -> str:
    """What plotly calls the legend of a panel of a stack."""
    return "legend" if panel.row == 1 else f"legend{panel.row}"


class Pen:
    """Draws on one panel of a profile; only the first panel's lines stand in the legend.

    `stacked`: on a panel of a stack, whose lines stand in a legend of its own. `first`: the layer at the left end; that
    of the lines, where None.
    """

    def __init__(
        self, fig: go.Figure, panel: Panel, layers: Sequence[int], *, stacked: bool = False, first: int | None = None
    ) -> None:
        self._fig, self._panel, self._layers = fig, panel, layers
        self._first = min(layers) if first is None else first
        self._in_legend = stacked or panel.row == panel.column == 1
        self._legend = {"legend": _legend(panel)} if stacked else {}

    def line(
        self,
        name: str,
        values: Array,
        colour: str,
        low: Array | None = None,
        high: Array | None = None,
        *,
        rank: int,
        dash: str = "solid",
        width: float = 1.8,
        key: bool = True,
        note: str = "",
    ) -> None:
        """A line by layer; layers without a number leave a gap, and one alone is a point."""
        nothing = np.full(len(values), np.nan)
        low, high = (nothing if bound is None else bound for bound in (low, high))
        texts = (
            f"<b>{note or name}: {interval(v, a, b)}</b><br>layer {layer}"
            for layer, v, a, b in zip(self._layers, values, low, high, strict=True)
        )
        self._fig.add_trace(
            go.Scatter(
                x=[layer - self._first for layer in self._layers],
                y=values,
                mode="lines" if np.isfinite(values).sum() > 1 else "lines+markers",
                name=name,
                line={"color": colour, "width": width, "dash": dash},
                **hover(texts),
                showlegend=key and self._in_legend,
                legendgroup=name,
                legendrank=rank,
                **self._legend,
            ),
            **self._panel.at,
        )

    def rule(self, level: float) -> None:
        """A faint line across the panel."""
        style = {"layer": "below", "line": {"color": FAINT, "width": 1}}
        self._fig.add_hline(level, **style, **self._panel.at, exclude_empty_subplots=False)

    def band(self, low: Array, high: Array, colour: str) -> None:
        """The interval, run by run of layers that have one."""
        there = np.isfinite(low) & np.isfinite(high)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], there.astype(int), [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            x = [layer - self._first for layer in self._layers[start:stop]]
            self._fig.add_trace(
                go.Scatter(
                    x=x + x[::-1],
                    y=[*high[start:stop], *low[start:stop][::-1]],
                    fill="toself",
                    mode="lines",
                    line={"width": 0},
                    fillcolor=washed(colour),
                    name="interval",
                    **SILENT,
                ),
                **self._panel.at,
            )
