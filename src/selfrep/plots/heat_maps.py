"""Heat maps of layers by places: panels of one colour scale, white at zero, equally strong on either side of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from selfrep.plots.panels import Places, bracket, fits, grid, heading, layer_ticks, place_axis
from selfrep.plots.scales import colour_bar
from selfrep.plots.text import hover
from selfrep.plots.theme import HEAD, INK, SILENT, SIZE, WIDTH, Words, finish
from selfrep.stats.rounding import negligible

Array = np.ndarray
CellWords = Callable[[dict[str, float]], str]
"""From the numbers of a cell, by the names of their variables, to a text (escaped)."""

_LEFT, _RIGHT, _GAP = 44.0, 56.0, 18.0
SCALE = "White is zero, orange positive, blue negative, equally strong either way; grey cells have no number."


@dataclass(frozen=True)
class Map:
    """One panel: values [layer, place] with what hover says of each (escaped), and which cells to dot or to outline."""

    title: str
    values: Array
    hover: list[list[str]]
    dotted: Array | None = None
    outlined: Array | None = None


def layers_of(data: xr.Dataset) -> list[int]:
    """The layers of a Dataset, from the bottom up."""
    return [int(layer) for layer in data.layer.to_numpy()]


def arrays(data: xr.Dataset, axis: str) -> dict[str, Array]:
    """The numbers [layer, place] of a Dataset whose places are `axis`, as floats."""
    maps = {str(k): v for k, v in data.data_vars.items() if set(v.dims) == {"layer", axis} and v.dtype.kind in "bif"}
    return {k: v.transpose("layer", axis).to_numpy().astype(float) for k, v in maps.items()}


def cell_words(values: dict[str, Array], words: CellWords, layers: Sequence[int], places: Places) -> list[list[str]]:
    """What hover says of each cell: `words` of its numbers, and where it is."""
    return [
        [
            f"{words({name: float(v[i, j]) for name, v in values.items()})}<br>layer {layer}, {place}"
            for j, place in enumerate(places.names)
        ]
        for i, layer in enumerate(layers)
    ]


def draw(
    maps: Sequence[Map],
    places: Places,
    layers: Sequence[int],
    *,
    name: str,
    limit: float,
    floor: float | None = None,
    **words: Unpack[Words],
) -> go.Figure:
    """Draw maps side by side, or one below the other where their tokens would not fit.

    Args:
        name: of the quantity, over the colour bar.
        limit: where the colours end, on either side of zero.
        floor: a value to point at on the colour bar: how far two of the same side lie apart.
    """
    beside = fits(len(places), (WIDTH - _LEFT - _RIGHT - _GAP) / 2)
    frame = grid(len(maps), 2 if beside else 1, left=_LEFT, right=_RIGHT, gap=_GAP)
    n = len(layers)
    each = float(np.clip(9.5 * n, min(36 * n, 150), 330))
    below = above = 0.0
    for panel, one in zip(frame.panels, maps, strict=True):
        cells = {"hoverongaps": False, "coloraxis": "coloraxis", "xgap": 0.5, "ygap": 0.5}
        traces = [go.Heatmap(z=one.values, name=one.title, **hover(one.hover), **cells)]
        if one.dotted is not None:
            traces.append(_dots(one.dotted))
        if one.outlined is not None:
            traces.append(_outline(one.outlined))
        for trace in traces:
            frame.fig.add_trace(trace, **panel.at)
        frame.fig.update_yaxes(layer_ticks(layers, each, 16.0), **panel.at)
        frame.fig.update_yaxes(title_text="layer" if panel.column == 1 else None, **panel.at)
        below = max(below, place_axis(frame.fig, panel, places, frame.room))
        above = bracket(frame.fig, panel, places, frame.room)
        if one.title:
            heading(frame.fig, panel, one.title, above + 2)
            above += SIZE + 6
    top, bottom = HEAD + above, max(below + 8, 36 if floor is not None else 0)
    inner = frame.height(each, below + above + 16)
    colour_bar(frame.fig, name, [one.values for one in maps], limit, floor=floor)
    return finish(
        frame.fig, **words, height=inner + top + bottom, margin={"l": _LEFT, "r": _RIGHT, "t": top, "b": bottom}
    )


def transfer_limit(values: Sequence[Array]) -> float:
    """Where the colours of a transfer end: at least at 1, the whole behaviour. Ratios may overshoot it; past 1.5 more
    colour says no more."""
    return float(np.clip(extent(values), 1.0, 1.5))


def extent(values: Sequence[Array]) -> float:
    """The largest size among finite values: where colours end. 1 where there is none, or where all are rounding of
    numbers like 1 (or squares of it): a map of nothing is shown pale."""
    finite = np.concatenate([np.abs(v[np.isfinite(v)]) for v in values])
    largest = float(finite.max(initial=0.0))
    return 1.0 if negligible(largest, 1.0, degree=2) else largest


def _dots(where: Array) -> go.Scatter:
    """A small dot in each chosen cell."""
    y, x = np.nonzero(where)
    return go.Scatter(x=x, y=y, mode="markers", name="dotted", marker={"size": 2, "color": "#9a9a9a"}, **SILENT)


def _outline(where: Array) -> go.Scatter:
    """The boundary of the chosen cells, as separate strokes along cell edges."""
    padded = np.pad(where, 1)
    x: list[float | None] = []
    y: list[float | None] = []
    for axis in (0, 1):  # edges between rows are level, those between columns upright
        for i, j in np.argwhere(np.diff(padded, axis=axis)):
            x += [j - 1.5 + axis, j - 0.5, None]
            y += [i - 0.5 - axis, i - 0.5, None]
    line = {"width": 1, "color": INK}
    return go.Scatter(x=x, y=y, mode="lines", name="outlined", line=line, cliponaxis=False, **SILENT)
