"""The traces of a panel as artists: lines, bands, points with whiskers, bars, cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_hex, to_rgba
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from selfrep.plots.on_paper.type import bare
from selfrep.plots.theme import NOTHING, PAPER, SOFT

PT = 0.75
"""Points in a pixel of plotly's layouts."""
DASHES = {"solid": "-", "dot": (0, (1, 1.6)), "dash": (0, (4, 2)), "dashdot": (0, (4, 1.6, 1, 1.6))}
SYMBOLS = {
    "circle": "o", "diamond": "D", "triangle-up": "^", "pentagon": "p", "square": "s", "cross-thin": "+", "x-thin": "x",
}  # fmt: skip
_STROKES = "+x"
_EACH = ("o", "s", "^", "D", "v", "P", "X")
"""Marks that tell lines apart where colours do not print."""
HATCH = "////////"
"""What lies over cells below zero, so that they are told from those above without colours."""
HATCH_INKS = {"#2f6aa3": (0.45, 0.04), "#ffffff": (float("inf"), 0.45)}
"""The inks of the hatches, and from which share of the scale down to which each is seen; above, cells are white."""

Look = dict[str, Any]
"""How a line or a mark of a legend looks, in matplotlib's words."""


def colour(css: Any, opacity: float | None = None) -> tuple[float, float, float, float]:
    """A colour of plotly's; the opacity is that of the trace."""
    if found := re.match(r"rgba?\(([^)]*)\)", str(css)):
        red, green, blue, *alpha = (float(part) for part in found[1].split(","))
        css = (red / 255, green / 255, blue / 255, *alpha)
    red, green, blue, own = to_rgba(css)
    return red, green, blue, own * (1.0 if opacity is None else float(opacity))


def dashes(dash: str | None) -> Any:
    """A dash of plotly's: by name, or in pixels."""
    if dash is None or dash in DASHES:
        return DASHES[dash or "solid"]
    return (0, tuple(float(part) * PT for part in dash.replace("px", "").split(",")))


def floats(values: Any) -> np.ndarray:
    """Numbers of a trace; gaps are NaN."""
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def draw(ax: Axes, traces: Sequence[tuple[int, Any]]) -> None:
    """Draw the traces of a panel, but its heat maps, in their order."""
    heaps: dict[str, np.ndarray] = {}
    marks = line_marks(traces)
    for i, trace in traces:
        if trace.type == "bar":
            _bars(ax, trace, heaps, order=i)
        elif trace.type == "scatter" and trace.stackgroup:
            x, y = floats(trace.x), floats(trace.y)
            below = heaps.get(trace.stackgroup, np.zeros(len(y)))
            fill = colour(trace.fillcolor, trace.opacity)
            ax.fill_between(x, below, below + y, color=fill, linewidth=0.3, edgecolor=PAPER, zorder=2)
            heaps[trace.stackgroup] = below + y
        elif trace.type == "scatter" and trace.fill == "toself":
            ax.fill(floats(trace.x), floats(trace.y), color=colour(trace.fillcolor), linewidth=0, zorder=2)
        elif trace.type == "scatter":
            _scatter(ax, trace, marks.get(i), order=i)


def line_marks(traces: Sequence[tuple[int, Any]]) -> dict[int, str]:
    """A mark for each line, by its number, where more than two unbroken lines differ in colour alone."""
    alone = [(i, t) for i, t in traces if t.type == "scatter" and t.mode == "lines" and not t.stackgroup]
    plain = [
        (i, t) for i, t in alone if t.fill is None and (t.line.dash or "solid") == "solid" and t.name != "outlined"
    ]
    of = dict(zip(dict.fromkeys(t.legendgroup or t.name for _, t in plain), cycle(_EACH)))  # as many as there are
    return {i: of[t.legendgroup or t.name] for i, t in plain} if len(of) > 2 else {}


def line_look(trace: Any, mark: str | None = None) -> Look:
    """How the line of a trace looks."""
    width = float(trace.line.width or 2) * PT * 0.85
    look: Look = {
        "color": colour(trace.line.color or SOFT, trace.opacity),
        "linestyle": dashes(trace.line.dash), "linewidth": width,
    }  # fmt: skip
    return look | ({"marker": mark, "markersize": 3.2, "markeredgewidth": 0} if mark else {})


def mark_look(trace: Any, which: int = 0) -> Look:
    """How the marks of a trace look; `which`, where each has a colour of its own."""
    marker = trace.marker
    symbol = str(marker.symbol or "circle")
    shape = SYMBOLS.get(symbol.removesuffix("-open"), "o")
    inks = marker.color if marker.color is not None else trace.line.color or SOFT
    edges = marker.line.color
    ink = inks if isinstance(inks, str) else inks[which]
    edge = ink if edges is None or symbol.endswith("-open") else edges if isinstance(edges, str) else edges[which]
    hollow = symbol.endswith("-open") or shape in _STROKES
    width = float(marker.line.width if marker.line.width is not None else (1.4 if hollow else 0)) * PT
    opacity = 1.0 if trace.opacity is None and marker.opacity is None else (trace.opacity or marker.opacity)
    return {
        "marker": shape,
        "linestyle": "none",
        "markersize": float(marker.size or 6) * PT * 0.9,
        "markerfacecolor": "none" if hollow else colour(ink, opacity),
        "markeredgecolor": colour(ink if shape in _STROKES and edges is None else edge, opacity),
        "markeredgewidth": max(width, 0.7) if hollow else width,
    }


def _scatter(ax: Axes, trace: Any, mark: str | None, order: int) -> None:
    x, y = floats(trace.x), floats(trace.y)
    if not (np.isfinite(x) & np.isfinite(y)).any():
        return  # what stands in the legend alone
    mode, above = trace.mode or "lines+markers", 3 + order / 1000
    clip = trace.cliponaxis is not False
    if "lines" in mode:
        every: Look = {"markevery": (0, max(1, len(x) // 6))} if mark else {}
        ax.plot(x, y, **line_look(trace, mark), **every, zorder=above, clip_on=clip, solid_capstyle="butt")
    for axis, bars in (("x", trace.error_x), ("y", trace.error_y)):
        if bars.array is not None:
            low = bars.array if bars.arrayminus is None else bars.arrayminus
            ends = {f"{axis}err": np.clip([floats(low), floats(bars.array)], 0, None)}
            width = float(bars.thickness or 1) * PT
            ax.errorbar(x, y, **ends, fmt="none", ecolor=colour(bars.color or SOFT), elinewidth=width, zorder=2.9)
    if "markers" in mode:
        inks = trace.marker.color
        each = range(len(x)) if inks is not None and not isinstance(inks, str) else [None]
        for k in each:
            at = slice(None) if k is None else slice(k, k + 1)
            ax.plot(x[at], y[at], **mark_look(trace, k or 0), zorder=above + 0.5, clip_on=False)
    if "text" in mode:
        for left, at, text in zip(x, y, trace.text or (), strict=True):
            ax.annotate(
                bare(text)[0], (left, at), (5, 0), textcoords="offset points", va="center", parse_math=False,
                color=SOFT, style=trace.textfont.style or "normal", fontsize="small", gid="mark",
            )  # fmt: skip


def _bars(ax: Axes, trace: Any, heaps: dict[str, np.ndarray], order: int) -> None:
    """Bars that are stacked to either side of zero."""
    level = trace.orientation == "h"
    size, at = (floats(trace.x), floats(trace.y)) if level else (floats(trace.y), floats(trace.x))
    size, thick = np.nan_to_num(size), float(trace.width or 0.8)
    below, above = heaps.setdefault("−", np.zeros(len(size))), heaps.setdefault("+", np.zeros(len(size)))
    begin = np.where(size < 0, below, above)
    heaps["−"], heaps["+"] = below + np.minimum(size, 0), above + np.maximum(size, 0)
    look = bar_look(trace) | {"zorder": 2 + order / 1000}
    if level:
        ax.barh(at, size, thick, begin, **look)
    else:
        ax.bar(at, size, thick, begin, **look)


def bar_look(trace: Any) -> Look:
    """How the bars of a trace look; the hatches differ, where colours do not print."""
    ink = colour(trace.marker.color)
    dark = np.dot(ink[:3], (0.299, 0.587, 0.114)) < 0.55
    return {"facecolor": ink, "edgecolor": PAPER, "linewidth": 0.6, "hatch": "....." if dark else None}


def scale(coloraxis: Any) -> Colormap:
    """The colours of a heat map; cells without a number have the ground's."""
    stops = [(float(at), to_hex(colour(css))) for at, css in coloraxis.colorscale]
    return LinearSegmentedColormap.from_list("selfrep", stops, N=512).with_extremes(bad=NOTHING)


def cells(ax: Axes, trace: Any, coloraxis: Any, *, hatched: bool) -> QuadMesh:
    """The cells of a heat map, those below zero hatched."""
    z = np.asarray(trace.z, dtype=float)
    n, m = z.shape
    x, y = np.arange(m + 1) - 0.5, np.arange(n + 1) - 0.5
    mesh = ax.pcolormesh(
        x, y, np.ma.masked_invalid(z), cmap=scale(coloraxis), vmin=coloraxis.cmin, vmax=coloraxis.cmax,
        edgecolors="face", linewidth=0.15, zorder=1,
    )  # fmt: skip
    mesh.set_in_layout(False)  # it does not reach beyond the axes, and has many cells
    for ink, (strong, weak) in HATCH_INKS.items() if hatched else ():
        limit = float(coloraxis.cmax)
        if len(at := np.argwhere((z < -weak * limit) & (z >= -strong * limit))):
            corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5)])
            codes = np.tile([Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY], len(at))
            hatch(ax, Path((at[:, None, ::-1] + corners).reshape(-1, 2), codes), ink)
    return mesh


def hatch(ax: Axes, path: Path, ink: str) -> None:
    """Hatch an area as below zero."""
    style = {"facecolor": "none", "edgecolor": ink, "linewidth": 0, "hatch_linewidth": 0.4}
    ax.add_patch(PathPatch(path, hatch=HATCH, zorder=1.5, **style)).set_in_layout(False)
