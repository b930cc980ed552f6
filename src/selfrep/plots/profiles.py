"""Profiles over layers: one place or segment a panel, estimates with their intervals, controls in grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import plotly.graph_objects as go

from selfrep.plots.panels import Grid, Panel, grid, layer_ticks, write
from selfrep.plots.text import hover, interval
from selfrep.plots.theme import FAINT, HEAD, SILENT, SIZE, Words, finish, legend_below, legend_height, washed

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
        write(fig, panel, "layer", x=0.5, y=0, yanchor="top", yshift=-18)
    keys = sum(bool(trace.showlegend) for trace in fig.data)
    bottom = axis + 10 + legend_height(keys, columns)
    height = frame.height(each, axis + SIZE + 14) + top + bottom
    fig.update_layout(legend=legend_below(columns))
    return finish(fig, **words, height=height, margin={"l": _LEFT, "r": _RIGHT, "t": top, "b": bottom})


class Pen:
    """Draws on one panel of a profile; only the first panel's lines stand in the legend."""

    def __init__(self, fig: go.Figure, panel: Panel, layers: Sequence[int]) -> None:
        self._fig, self._panel, self._layers = fig, panel, layers

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
                x=[layer - min(self._layers) for layer in self._layers],
                y=values,
                mode="lines" if np.isfinite(values).sum() > 1 else "lines+markers",
                name=name,
                line={"color": colour, "width": width, "dash": dash},
                **hover(texts),
                showlegend=key and self._panel.row == self._panel.column == 1,
                legendgroup=name,
                legendrank=rank,
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
            x = [layer - min(self._layers) for layer in self._layers[start:stop]]
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
