"""What a figure holds, panel by panel, before anything is drawn.

plotly's figure is a description already: traces, axes and texts as data. So paper needs no second description beside
it. What an analysis from elsewhere draws, what its user adds by `update_layout` and what a notebook holds in a variable
can all be printed. What is written is known by its name (see `selfrep.plots.panels`): on paper it may stand elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from selfrep.errors import SelfrepError
from selfrep.plots.on_paper.type import bare
from selfrep.plots.panels import HEADING, NOTE, TITLE
from selfrep.plots.scales import FLOOR, FLOOR_KEY, SCALE
from selfrep.plots.theme import DPI, HEAD, WIDTH

KNOWN = ("bar", "heatmap", "scatter")
"""The kinds of traces that can be printed."""


@dataclass(frozen=True)
class Part:
    """One panel: what is drawn in it and written on it, and where it stands.

    Attributes:
        row, column: its place in the grid of the figure.
        height, width: on the page that the figure was laid out for (inches).
        xaxis, yaxis: plotly's axes.
        traces: in the order in which they are drawn, each with its number in the figure.
        shapes: its lines; notes: its other texts.
        heading, note: its title and what stands below that.
        xlabel, ylabel: the titles of its axes, where it has any.
        legend: what plotly calls its legend.
        shared: whether its vertical axis is that of other panels too.
    """

    row: int
    column: int
    height: float
    width: float
    xaxis: Any
    yaxis: Any
    traces: tuple[tuple[int, Any], ...]
    shapes: tuple[Any, ...]
    notes: tuple[Any, ...]
    heading: str
    note: str
    xlabel: str
    ylabel: str
    legend: str
    shared: bool

    @property
    def is_map(self) -> bool:
        """Whether it is a heat map."""
        return any(trace.type == "heatmap" for _, trace in self.traces)

    @property
    def aspect(self) -> float | None:
        """Height by width where both axes have one scale; None where each has its own."""
        if self.xaxis.range is None or self.yaxis.range is None or self.is_map or self.yaxis.tickvals is not None:
            return None
        (left, right), (low, high) = self.xaxis.range, self.yaxis.range
        aspect = float((high - low) / (right - left))
        return aspect if abs(aspect * self.width / self.height - 1) < 0.02 else None


@dataclass(frozen=True)
class Sheet:
    """A figure as what is printed.

    Attributes:
        title, subtitle: what it says of itself.
        parts: its panels, in the order of reading.
        columns: in how many it was laid out.
        places: the labels of the columns of its heat maps, all of them; empty where there are none.
        transposed: whether those stand on the vertical axis.
        segments: their names, first and last columns; where they are not bracketed.
        scale: the name of the quantity that colours tell, if any.
        floor: the value that the colour bar points at, and the words for it.
    """

    title: str
    subtitle: str
    parts: tuple[Part, ...]
    columns: int
    places: tuple[str, ...]
    transposed: bool
    segments: tuple[tuple[str, float, float], ...]
    scale: str
    floor: tuple[float | None, str]
    coloraxis: Any


def read(fig: go.Figure) -> Sheet:
    """A figure of plotly as what is printed.

    Raises:
        SelfrepError: it holds a kind of trace that paper does not know.

    Example:
        >>> figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4])).update_layout(title_text="<b>A &amp; B</b>")
        >>> sheet = read(figure)
        >>> sheet.title, len(sheet.parts)
        ('A & B', 1)
    """
    for trace in fig.data:
        if trace.type not in KNOWN:
            raise SelfrepError(
                f"Paper shows traces of the kinds {', '.join(KNOWN)}; this figure holds a {trace.type}. Save it with "
                'engine="browser", which draws whatever plotly draws.'
            )
    title, _, subtitle = str(fig.layout.title.text or "").partition("</b><br>")
    meta = fig.layout.meta or {}
    parts = tuple(_parts(fig))
    floors = [a.text for a in fig.layout.annotations if a.name == FLOOR_KEY]
    scale = meta.get(SCALE, {})
    return Sheet(
        bare(title)[0],
        bare(subtitle)[0],
        parts,
        max((part.column for part in parts), default=0) + 1,
        tuple(bare(label)[0] for label in meta.get("places", ())),
        bool(meta.get("transposed")),
        tuple((bare(name)[0], first, last) for name, first, last in meta.get("segments", ())),
        bare(scale.get("name", ""))[0],
        (scale.get("floor"), bare(floors[0])[0] if floors else ""),
        fig.layout.coloraxis,
    )


def _parts(fig: go.Figure) -> Iterator[Part]:
    layout = fig.layout
    across = float((layout.width or WIDTH) - _margin(layout.margin.l, 80.0) - _margin(layout.margin.r, 80.0)) / DPI
    up = float((layout.height or 450) - _margin(layout.margin.t, HEAD) - _margin(layout.margin.b, 80.0)) / DPI
    pairs = list(dict.fromkeys((trace.xaxis or "x", trace.yaxis or "y") for trace in fig.data)) or [("x", "y")]
    axes = {pair: (layout[_long(pair[0])], layout[_long(pair[1])]) for pair in pairs}
    spans = {pair: tuple((axis.domain or (0.0, 1.0)) for axis in both) for pair, both in axes.items()}
    lefts = _levels([x[0] for x, _ in spans.values()])
    tops = _levels([-y[1] for _, y in spans.values()])
    order = sorted(pairs, key=lambda pair: (_level(tops, -spans[pair][1][1]), _level(lefts, spans[pair][0][0])))
    for x, y in order:
        (left, right), (low, high) = spans[x, y]
        xaxis, yaxis = axes[x, y]
        mine = tuple((i, t) for i, t in enumerate(fig.data) if (t.xaxis or "x", t.yaxis or "y") == (x, y))
        notes = [a for a in layout.annotations if _belongs(a, x, y, first=(x, y) == order[0]) and a.name not in _BAR]
        alone = {kind: next((bare(a.text)[0] for a in notes if a.name == kind), "") for kind in (HEADING, NOTE, TITLE)}
        matched = layout[_long(yaxis.matches)] if yaxis.matches else yaxis
        yield Part(
            _level(tops, -high),
            _level(lefts, left),
            (high - low) * up,
            (right - left) * across,
            xaxis,
            yaxis,
            mine,
            tuple(s for s in layout.shapes if _belongs(s, x, y, first=(x, y) == order[0])),
            tuple(a for a in notes if a.name not in alone),
            alone[HEADING],
            alone[NOTE],
            alone[TITLE] or bare(xaxis.title.text)[0],
            bare(matched.title.text or yaxis.title.text)[0],
            next((t.legend for _, t in mine if t.legend), "legend"),
            bool(yaxis.matches) or any(layout[_long(b)].matches == y for _, b in pairs),
        )


_BAR = (SCALE, FLOOR, FLOOR_KEY)


def _margin(value: float | int | None, usual: float) -> float:
    return usual if value is None else float(value)


def _long(axis: str) -> str:
    """What an axis is called in a layout, from what traces call it: "x2" is "xaxis2"."""
    return f"{axis[0]}axis{axis[1:]}"


def _belongs(one: Any, x: str, y: str, *, first: bool) -> bool:
    """Whether a shape or a text stands on the panel of these axes; what stands on the page stands on the first."""
    refs = [str(ref or usual).removesuffix(" domain") for ref, usual in ((one.xref, "x"), (one.yref, "y"))]
    if refs == ["paper", "paper"]:
        return first
    return all(ref in (axis, "paper") for ref, axis in zip(refs, (x, y), strict=True))


def _levels(values: Sequence[float]) -> list[float]:
    """Different values in order, those of rounding counted once."""
    levels: list[float] = []
    for value in sorted(values):
        if not levels or value - levels[-1] > 1e-6:
            levels.append(value)
    return levels


def _level(levels: Sequence[float], value: float) -> int:
    return min(range(len(levels)), key=lambda i: abs(levels[i] - value))
