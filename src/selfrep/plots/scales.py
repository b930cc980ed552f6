"""The colours of heat maps: white at zero, equally strong on either side of it. The bar shows what the values use of
them, so that distances, which are hardly below zero, have the whole of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from plotly import colors
from plotly.exceptions import PlotlyError

from selfrep.errors import SelfrepError
from selfrep.plots.theme import DIVERGING, INK, NOTHING, SIZE, TINY
from selfrep.stats.numbers import number

Array = np.ndarray
Stops = Sequence[tuple[float | int, str]]
"""Colours at shares of a scale, the first at 0 and the last at 1."""

SCALE, FLOOR, FLOOR_KEY = "scale", "floor", "floor key"
"""The names of what is written at the colour bar: the quantity, and the value that is pointed at with its key."""
_STEPS = 24
_UNSEEN = 0.01
"""A value below zero by so small a share of the limit is white."""


def colour_bar(
    fig: go.Figure,
    name: str,
    values: Sequence[Array],
    limit: float,
    *,
    floor: float | None = None,
    stops: Stops = DIVERGING,
    centred: bool = True,
) -> None:
    """Give the heat maps of a figure their colours, and the bar that tells them; what was there before goes.

    Args:
        name: of the quantity (escaped).
        values: of all maps.
        limit: where the colours end, above zero and, where values reach so far, below it.
        floor: a value to point at.
        centred: whether the middle of the stops stands at zero.
    """
    finite = np.concatenate([v[np.isfinite(v)].ravel() for v in values])
    lowest, highest = float(finite.min(initial=0.0)), float(finite.max(initial=0.0))
    low = _low(limit, min(lowest, 0.0 if floor is None else floor))
    ticks = _ticks(limit, low, above=highest > limit, below=lowest < -limit)
    fig.layout.annotations = [a for a in fig.layout.annotations if a.name not in (SCALE, FLOOR, FLOOR_KEY)]
    fig.update_layout(
        plot_bgcolor=NOTHING,
        meta=(fig.layout.meta or {}) | {SCALE: {"name": name, "limit": limit, "floor": floor, "centred": centred}},
        coloraxis={
            "colorscale": _section(stops, (low / limit + 1) / 2) if centred else [list(stop) for stop in stops],
            "cmin": low,
            "cmax": limit,
            "colorbar": {
                "thickness": 10,
                "outlinewidth": 0,
                "len": 1,
                "x": 1,
                "y": 0.5,
                "ypad": 0,
                "tickvals": list(ticks),
                "ticktext": list(ticks.values()),
                "tickfont": {"size": TINY, "color": INK},
                "ticks": "outside",
                "ticklen": 3,
            },
        },
    )
    beside = {"x": 1, "xref": "paper", "yref": "paper", "xanchor": "left", "showarrow": False}
    fig.add_annotation(beside, text=f"<b>{name}</b>", y=1, yanchor="bottom", xshift=8, font={"size": SIZE}, name=SCALE)
    if floor is None:
        return
    if floor <= limit:
        height = (floor - low) / (limit - low)
        fig.add_annotation(beside, text="▸", y=height, yanchor="middle", xshift=2, font={"size": SIZE}, name=FLOOR)
    key = f"{'▸' if floor <= limit else 'above:'} one side<br>{number(float(f'{floor:.2g}'))}"
    fig.add_annotation(
        beside, text=key, y=0, yanchor="top", yshift=-4, align="left", font={"size": TINY}, name=FLOOR_KEY
    )


def rescale(fig: go.Figure, *, limit: float | None = None, colourscale: str | Stops | None = None) -> None:
    """Draw the colours of a figure anew: up to another limit, or in others.

    Raises:
        SelfrepError: the figure has no heat map of this package, an unknown name, or a limit that is not above 0.
    """
    now = (fig.layout.meta or {}).get(SCALE)
    if now is None:
        raise SelfrepError("Only heat maps have colours that tell numbers (colorscale, zmax); this figure is none.")
    if limit is not None and not (np.isfinite(limit) and limit > 0):
        raise SelfrepError(f"Colours end at a number above 0 (zmax); got {limit}.")
    stops, centred = (DIVERGING, now["centred"]) if colourscale is None else _stops(colourscale)
    values = [np.asarray(trace.z, dtype=float) for trace in fig.data if trace.type == "heatmap"]
    colour_bar(fig, now["name"], values, limit or now["limit"], floor=now["floor"], stops=stops, centred=centred)


def _stops(colourscale: str | Stops) -> tuple[Stops, bool]:
    """The stops of a scale, and whether its middle stands for zero."""
    if not isinstance(colourscale, str):
        return [(float(at), str(colour)) for at, colour in colourscale], True
    plain = colourscale.removesuffix("_r").lower()
    centred = plain in {name.lower() for name in dir(colors.diverging)} | {"bwr", "coolwarm", "seismic", "vanimo"}
    try:
        return [(float(at), str(colour)) for at, colour in colors.get_colorscale(colourscale)], centred
    except PlotlyError:
        import matplotlib as mpl
        from matplotlib.colors import to_hex

    if colourscale not in mpl.colormaps:
        raise SelfrepError(
            f"There is no colour scale {colourscale!r}; those of plotly and matplotlib are known by name, e.g. "
            "'RdBu_r' or 'viridis', and any other as a list of (share, colour)."
        )
    cmap = mpl.colormaps[colourscale]
    return [(float(at), to_hex(cmap(at))) for at in np.linspace(0, 1, 2 * _STEPS + 1)], centred


def _low(limit: float, lowest: float) -> float:
    """Where the bar begins: at zero, below all values that are less, and at −limit at the least."""
    if lowest >= -_UNSEEN * limit:
        return 0.0
    step = _step(limit) / 2
    return -min(limit, float(np.ceil(-lowest / step - 1e-9)) * step)


def _section(stops: Stops, begin: float) -> list[list[object]]:
    """The colours from a share of the scale on, as stops of their own."""
    if begin <= 0:
        return [list(stop) for stop in stops]
    inner = [(at, colour) for at, colour in stops if at > begin]
    first = next(
        colors.find_intermediate_color(*_rgb(a, b), (begin - x) / (y - x), colortype="rgb")
        for (x, a), (y, b) in pairwise(stops)
        if x <= begin <= y
    )
    return [[0.0, first], *([(at - begin) / (1 - begin), colour] for at, colour in inner)]


def _rgb(*colours: str) -> tuple[str, ...]:
    return tuple(
        colour if colour.startswith("rgb") else colors.label_rgb(colors.hex_to_rgb(colour)) for colour in colours
    )


def _step(limit: float) -> float:
    scale = 10.0 ** np.floor(np.log10(limit))
    steps = (0.2 * scale, 0.25 * scale, 0.5 * scale, scale, 2 * scale, 2.5 * scale)
    return float(next(s for s in steps if limit / s <= 4.01))


def _ticks(limit: float, low: float, *, above: bool, below: bool) -> dict[float, str]:
    """Round numbers on either side of zero; an end says so when values lie beyond it."""
    step = _step(limit)
    first, last = int(np.ceil(low / step - 1e-9)), int(limit / step + 1e-9)
    ticks = {float(k * step): number(float(f"{k * step:.6g}")) for k in range(first, last + 1)}
    if above or below:
        ticks = {v: t for v, t in ticks.items() if abs(v) < limit - 0.3 * step}
        ticks |= {limit: f"{'≥' if above else ''}{number(limit)}"}
        ticks |= {-limit: f"{'≤' if below else ''}{number(-limit)}"} if low == -limit else {}
    return dict(sorted(ticks.items()))
