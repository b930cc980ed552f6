"""What maps and profiles share: places on an axis, with their tokens below and their segments bracketed above; panels
side by side or one below the other; layers from the bottom up; and what is drawn where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from selfrep.plots.text import exact_token, integer, reach, token, words, wrap
from selfrep.plots.theme import FAINT, HEAD, INK, SIZE, SMALL, SOFT, TINY, WIDTH, finish

UNCLEAR = {"", "mixed"}
"""What a segment is called where prompts disagree."""

HEADING, SEGMENT, TITLE, NOTE, REASON = "heading", "segment", "axis title", "note", "reason"
LANDMARK, COLUMN, ROW = "landmark", "column", "row"
"""The names of what is written on a figure, by which `paper` knows what it is for: the title of a panel; the bracket of
a segment (its name follows); the title of a horizontal axis; what stands below the title of a panel; why there is
nothing to draw; the meaning of an upright line; a column of numbers at the right; and what stands over a row."""


@dataclass(frozen=True)
class Places:
    """The columns of a map, in order.

    Attributes:
        labels: what stands on the axis, escaped.
        names: what hover says, escaped.
        segments: the raw name of each column's segment; empty when the columns are segments themselves.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    segments: tuple[str, ...]

    @classmethod
    def of(cls, data: xr.Dataset, pair: int | None = None) -> Places:
        """From a Dataset over segments, or over positions with the tokens of all its prompts, or of one pair."""
        if "position" not in data.dims:
            names = tuple(words(s) for s in data.segment.to_numpy())
            return cls(names, names, ())
        tokens, segments = (_column_words(data, names, pair) for names in (("token",), ("segment_of", "segment")))
        labels, hover = [], []
        for position, text, segment in zip(data.position.to_numpy(), tokens, segments, strict=True):
            number = integer(int(position))
            labels.append(token(text) if text else number)
            quote = f" “{exact_token(text)}”" if text else ""
            hover.append(f"position {number}{quote}" + ("" if segment in UNCLEAR else f", {words(segment)}"))
        return cls(tuple(labels), tuple(hover), tuple(segments))

    def __len__(self) -> int:
        return len(self.labels)

    def brackets(self) -> list[tuple[str, int, int]]:
        """(segment, first column, last column) of every run of one clear segment."""
        runs = [list(run) for _, run in groupby(enumerate(self.segments), key=lambda column: column[1])]
        return [(run[0][1], run[0][0], run[-1][0]) for run in runs if run[0][1] not in UNCLEAR]


def fits(n: int, room: float) -> bool:
    """Whether so many upright labels stand side by side in `room` px."""
    return n * (TINY + 0.5) <= room


def _column_words(data: xr.Dataset, names: Sequence[str], pair: int | None) -> list[str]:
    """The first of these coordinates that there is: that of one pair, or what all pairs agree on, "" elsewhere."""
    for name in names:
        if name not in data.coords:
            continue
        values = data[name]
        if "pair" not in values.dims:
            return [str(v) for v in values.to_numpy()]
        if pair is not None:
            return [str(v) for v in values.isel(pair=pair).to_numpy()]
        columns = [set(map(str, c)) - {""} for c in values.transpose("position", "pair").to_numpy()]
        return [c.pop() if len(c) == 1 else "" for c in columns]
    return [""] * data.sizes["position"]


@dataclass(frozen=True)
class Panel:
    """One pair of axes of a figure: where it stands, and what plotly calls its axes."""

    row: int
    column: int
    x: str
    y: str

    @property
    def at(self) -> dict[str, int]:
        """Where plotly's `add_…` and `update_…` find it."""
        return {"row": self.row, "col": self.column}


@dataclass(frozen=True)
class Grid:
    """A figure of equal panels; `room` is the width of each on the narrowest page (px)."""

    fig: go.Figure
    panels: tuple[Panel, ...]
    rows: int
    room: float

    def height(self, each: float, gap: float) -> float:
        """Make all panels `each` px high with `gap` px between rows. Returns the height of them all."""
        inner = self.rows * each + (self.rows - 1) * gap
        for panel in self.panels if self.rows > 1 else ():
            top = 1 - (panel.row - 1) * (each + gap) / inner
            self.fig.update_yaxes(domain=[max(0.0, top - each / inner), top], **panel.at)
        return inner


def grid(n: int, columns: int, *, left: float, right: float, gap: float = 18.0) -> Grid:
    """`n` panels in rows of `columns` on a shared vertical axis; margins and the gap between columns in px."""
    columns = min(n, columns)
    rows = -(-n // columns)
    inner = WIDTH - left - right
    fig = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes="all",
        horizontal_spacing=gap / inner if columns > 1 else 0,
        vertical_spacing=0.01 if rows > 1 else 0,
    )
    numbers = ["", *map(str, range(2, rows * columns + 1))]
    panels = [Panel(i // columns + 1, i % columns + 1, f"x{name}", f"y{name}") for i, name in enumerate(numbers)]
    for panel in panels[:n]:
        fig.update_yaxes(showticklabels=panel.column == 1, **panel.at)
    for empty in panels[n:]:
        fig.update_xaxes(visible=False, **empty.at).update_yaxes(visible=False, **empty.at)
    return Grid(fig, tuple(panels[:n]), rows, (inner - gap * (columns - 1)) / columns)


def place_axis(fig: go.Figure, panel: Panel, places: Places, room: float) -> float:
    """Label the columns of a map. Returns how far the labels reach below it (px)."""
    n = len(places)
    fig.update_layout(meta={"places": list(places.labels)})
    step = 1 if fits(n, room) else int(np.ceil(n * (TINY + 0.5) / room))
    chosen = sorted(range(n - 1, -1, -step))  # counted from the end, which every prompt has
    labels = [places.labels[i] for i in chosen]
    upright = bool(places.segments) or sum(reach(t, SMALL) + 6 for t in labels) > room
    fig.update_xaxes(
        tickvals=chosen,
        ticktext=labels,
        tickangle=-90 if upright else 0,
        tickfont={"size": TINY if upright else SMALL, "color": INK},
        range=[-0.5, n - 0.5],
        **panel.at,
    )
    return 8 + (max(reach(t, TINY) for t in labels) if upright else SMALL)


def layer_ticks(layers: Sequence[int], room: float, each: float) -> dict[str, object]:
    """Axis settings that label every, or every second, fifth, tenth … layer; a label takes `each` of `room` px."""
    n = len(layers)
    for step in (1, 2, 5, 10, 20, 50):
        chosen = [i for i, layer in enumerate(layers) if layer % step == 0]
        if len(chosen) > 1 and len(chosen) * each <= room:
            break
    if len(chosen) < min(n, 2):
        chosen = [0, n - 1]
    return {"tickvals": chosen, "ticktext": [str(layers[i]) for i in chosen], "range": [-0.5, n - 0.5]}


def bracket(fig: go.Figure, panel: Panel, places: Places, room: float) -> float:
    """Bracket the segments above a map. Returns the height used (px)."""
    each = room / max(len(places), 1)
    ends = [-np.inf, -np.inf]  # how far the names in each of two rows reach (px)
    rows = 0
    for segment, first, last in places.brackets():
        fig.add_shape(
            type="line",
            name=f"{SEGMENT} {words(segment)}",
            x0=first - 0.4,
            x1=last + 0.4,
            y0=4,
            y1=4,
            xref=panel.x,
            yref=f"{panel.y} domain",
            ysizemode="pixel",
            yanchor=1,
            line={"color": SOFT, "width": 1.2},
        )
        half = reach(words(segment), TINY) / 2 + 2
        middle = min(max((first + last + 1) / 2 * each, half), room - half)  # no name leaves its panel
        row = next((r for r in (0, 1) if ends[r] <= middle - half), None)
        if row is None:
            continue  # no room for a third name on one spot: hover still says it
        ends[row], rows = middle + half, max(rows, row + 1)
        style = {"yanchor": "bottom", "yshift": 4 + row * (TINY + 2), "font": {"size": TINY, "color": SOFT}}
        style["name"] = SEGMENT
        write(fig, panel, words(segment), x=middle / each - 0.5, xref=panel.x, **style)
    return 8.0 + rows * (TINY + 3) if rows else 0.0


def write(fig: go.Figure, panel: Panel, text: str, **style: object) -> None:
    """A text (escaped) on a panel: at its upper left corner, where the style of the annotation says no other place."""
    place = {"x": 0, "y": 1, "xref": f"{panel.x} domain", "yref": f"{panel.y} domain", "showarrow": False}
    fig.add_annotation(place | style, text=text)


def heading(fig: go.Figure, panel: Panel, text: str, above: float) -> None:
    """A panel's own title (escaped), `above` px over its left end."""
    place = {"xanchor": "left", "yanchor": "bottom", "xshift": -3, "yshift": above}
    write(fig, panel, f"<b>{text}</b>", **place, font={"size": SIZE, "color": INK}, name=HEADING)


def not_identified(title: str, reason: str, *, subtitle: str = "") -> go.Figure:
    """A figure that says in words why there is nothing to draw. Title and subtitle escaped, the reason raw."""
    fig = go.Figure().update_xaxes(visible=False).update_yaxes(visible=False)
    middle = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
    text = f"<b>Not identified</b><br>{wrap(reason, 62)}"
    lines = 1 + text.count("<br>")
    fig.add_annotation(middle, text=text, font={"size": 12, "color": SOFT}, name=REASON)
    fig.add_shape(type="rect", x0=0, x1=1, y0=0, y1=1, xref="paper", yref="paper", line={"color": FAINT, "width": 1})
    return finish(
        fig,
        title=title,
        subtitle=subtitle,
        caption=f"Not identified: {reason}. A number that cannot be trusted is not drawn.",
        height=max(200.0, HEAD + 40 + 16.0 * lines),
        margin={"l": 12.0, "r": 12.0, "t": HEAD + 4, "b": 12.0},
    )
