"""What maps and profiles share: places on an axis, with their tokens below and their segments bracketed above; panels side by
side or one below the other; and layers from the bottom up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from selfrep.results.plots.text import exact_token, reach, signed, token, words
from selfrep.results.plots.theme import INK, SIZE, SMALL, SOFT, TINY, WIDTH

UNCLEAR = {"", "mixed"}
"""What a segment is called where prompts disagree."""


@dataclass(frozen=True)
class Places:
    """The columns of a map, in order.

    Attributes:
        labels: [column] what stands on the axis, escaped.
        names: [column] what hover says, escaped.
        segments: [column] raw segment names; empty where the columns are segments themselves.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    segments: tuple[str, ...]
    title: str

    @classmethod
    def of(cls, data: xr.Dataset, pair: int | None = None) -> Places:
        """From a Dataset over positions (with `token` and `segment`, or those of one pair) or over segments."""
        if "position" not in data.dims:
            names = tuple(words(s) for s in data.segment.to_numpy())
            return cls(names, names, (), "tokens patched" if "patched" in data else "segment")
        positions = [int(p) for p in data.position.to_numpy()]
        tokens, segments = (_along(data, names, pair) for names in (("token",), ("segment_of", "segment")))
        labels = [token(t) if t else signed(p) for t, p in zip(tokens, positions, strict=True)]
        hover = []
        for p, t, s in zip(positions, tokens, segments, strict=True):
            said = f" “{exact_token(t)}”" if t else ""
            hover.append(f"position {signed(p)}{said}" + ("" if s in UNCLEAR else f", {words(s)}"))
        return cls(tuple(labels), tuple(hover), tuple(segments), "position, from the end")

    def __len__(self) -> int:
        return len(self.labels)

    def brackets(self) -> list[tuple[str, int, int]]:
        """(segment, first column, last column) of every run of one clear segment."""
        runs: list[tuple[str, int, int]] = []
        for i, segment in enumerate(self.segments):
            if runs and runs[-1][0] == segment and runs[-1][2] == i - 1:
                runs[-1] = (segment, runs[-1][1], i)
            else:
                runs.append((segment, i, i))
        return [run for run in runs if run[0] not in UNCLEAR]

    def ticks(self, room: float) -> tuple[list[int], list[str], float]:
        """Which columns are labelled, with what, and how long the longest label stands, in `room` px."""
        n = len(self)
        if n * (TINY + 0.5) <= room:
            chosen = list(range(n))
        else:  # too many to name: every k-th, counted from the end
            step = int(np.ceil(n * (TINY + 0.5) / room))
            chosen = sorted(range(n - 1, -1, -step))
        labels = [self.labels[i] for i in chosen]
        return chosen, labels, max((reach(t, TINY) for t in labels), default=0.0)


def _along(data: xr.Dataset, names: Sequence[str], pair: int | None) -> list[str]:
    """The first of these coordinates that is there, for one pair, or where all pairs agree; "" where they do not."""
    for name in names:
        if name not in data.coords:
            continue
        values = data[name]
        if "pair" in values.dims and pair is not None:
            return [str(v) for v in values.isel(pair=pair).to_numpy()]
        if "pair" in values.dims:
            columns = [set(map(str, c)) - {""} for c in values.transpose("position", "pair").to_numpy()]
            return [c.pop() if len(c) == 1 else "" for c in columns]
        return [str(v) for v in values.to_numpy()]
    return [""] * data.sizes["position"]


@dataclass(frozen=True)
class Panel:
    """One pair of axes of a figure."""

    row: int
    column: int
    number: int

    @property
    def x(self) -> str:
        return "x" if self.number == 1 else f"x{self.number}"

    @property
    def y(self) -> str:
        return "y" if self.number == 1 else f"y{self.number}"


@dataclass(frozen=True)
class Grid:
    """A figure of equal panels, with the room each has (px) on the narrowest page."""

    fig: go.Figure
    panels: tuple[Panel, ...]
    columns: int
    rows: int
    room: float

    def height(self, each: float, gap: float, top: float, bottom: float) -> float:
        """Height of the figure whose panels are `each` px high; sets the gap between rows."""
        inner = self.rows * each + (self.rows - 1) * gap
        if self.rows > 1:
            for panel in self.panels:
                start = 1 - (panel.row - 1) * (each + gap) / inner
                self.fig.update_yaxes(domain=[max(0.0, start - each / inner), start], row=panel.row, col=panel.column)
        return inner + top + bottom


def grid(n: int, columns: int, *, left: float, right: float, gap: float = 18.0, share_y: bool = True) -> Grid:
    """`n` panels in rows of `columns`; margins and gap in px."""
    columns = min(n, columns)
    rows = -(-n // columns)
    inner = WIDTH - left - right
    fig = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes="all" if share_y else False,
        horizontal_spacing=gap / inner if columns > 1 else 0,
        vertical_spacing=0.01 if rows > 1 else 0,
    )
    panels = tuple(Panel(i // columns + 1, i % columns + 1, i + 1) for i in range(n))
    for i in range(n, rows * columns):
        fig.update_xaxes(visible=False, row=i // columns + 1, col=i % columns + 1)
        fig.update_yaxes(visible=False, row=i // columns + 1, col=i % columns + 1)
    return Grid(fig, panels, columns, rows, (inner - gap * (columns - 1)) / columns)


def place_axis(fig: go.Figure, panel: Panel, places: Places, room: float) -> float:
    """Label the columns. Returns how far the labels reach below the axis (px)."""
    at, labels, longest = places.ticks(room)
    upright = bool(places.segments) or sum(reach(t, SMALL) + 6 for t in labels) > room
    fig.update_xaxes(
        tickmode="array",
        tickvals=at,
        ticktext=labels,
        tickangle=-90 if upright else 0,
        tickfont={"size": TINY if upright else SMALL, "color": INK},
        range=[-0.5, len(places) - 0.5],
        row=panel.row,
        col=panel.column,
    )
    return (longest if upright else SMALL + 2) + 8


def layer_axis(fig: go.Figure, panel: Panel, layers: Sequence[int], *, title: bool, vertical: bool = True) -> None:
    """Label the rows of a map (or the columns of a profile): each layer when few, else every fifth."""
    n = len(layers)
    chosen = [i for i, layer in enumerate(layers) if n <= 12 or layer % 5 == 0]
    if len(chosen) < 2:
        chosen = sorted({int(i) for i in np.linspace(0, n - 1, min(n, 7)).round()})
    update = fig.update_yaxes if vertical else fig.update_xaxes
    update(
        tickmode="array",
        tickvals=chosen,
        ticktext=[str(layers[i]) for i in chosen],
        range=[-0.5, n - 0.5],
        title_text="layer" if title else None,
        row=panel.row,
        col=panel.column,
    )


def bracket(fig: go.Figure, panel: Panel, places: Places, room: float) -> float:
    """Bracket the segments above a panel. Returns the height used (px)."""
    runs = places.brackets()
    if not runs:
        return 0.0
    each = room / len(places)
    ends = [-np.inf, -np.inf]  # where the last label of each of two rows ends (px)
    rows_used = 1
    for segment, first, last in runs:
        fig.add_shape(
            type="line",
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
        label = words(segment)
        width = reach(label, TINY) + 4
        middle = (first + last + 1) / 2 * each
        row = next((r for r in (0, 1) if ends[r] <= middle - width / 2 + 1), None)
        if row is None:
            continue  # three labels on one spot: the bracket and hover must do
        ends[row] = middle + width / 2
        rows_used = max(rows_used, row + 1)
        fig.add_annotation(
            text=label,
            x=(first + last) / 2,
            y=1,
            xref=panel.x,
            yref=f"{panel.y} domain",
            yshift=4 + row * (TINY + 2),
            yanchor="bottom",
            showarrow=False,
            font={"size": TINY, "color": SOFT},
        )
    return 8 + rows_used * (TINY + 2)


def heading(fig: go.Figure, panel: Panel, text: str, above: float) -> None:
    """A panel's own title (escaped), `above` px over it, at its left edge."""
    fig.add_annotation(
        text=f"<b>{text}</b>",
        x=0,
        y=1,
        xref=f"{panel.x} domain",
        yref=f"{panel.y} domain",
        xanchor="left",
        yanchor="bottom",
        yshift=above,
        showarrow=False,
        font={"size": SIZE, "color": INK},
    )
