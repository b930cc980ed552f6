"""The keys of a figure: below it, in as many columns as there is room for, long names in several lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from selfrep.plots.on_paper import marks
from selfrep.plots.on_paper.sheet import Part
from selfrep.plots.on_paper.type import bare, points, wide, wrapped
from selfrep.plots.theme import INK, PAPER

_HANDLE, _GAP, _BETWEEN = 2.2, 0.5, 1.2
"""The length of a line, the space behind it and that between columns, in type sizes."""


@dataclass(frozen=True)
class Key:
    """An entry of a legend: its name, and what stands before it."""

    name: str
    handle: Artist


def keys(parts: Sequence[Part]) -> list[Key]:
    """The entries of these panels, each once, in the order that they are to be read in."""
    of: dict[str, tuple[float, int, Key]] = {}
    counted = [(i, trace, part) for part in parts for i, trace in part.traces if trace.type != "heatmap"]
    for i, trace, part in counted:
        group = str(trace.legendgroup or trace.name or i)
        if trace.showlegend is False or trace.name is None or group in of:
            continue
        mark = marks.line_marks(part.traces).get(i)
        rank = 1000.0 if trace.legendrank is None else float(trace.legendrank)
        of[group] = (rank, i, Key(bare(trace.name)[0], _handle(trace, mark)))
    if len(of) == 1 and not any(trace.showlegend for _, trace, _ in counted):
        return []  # one thing alone is what the title says
    return [key for *_, key in sorted(of.values(), key=lambda entry: entry[:2])]


def _handle(trace: Any, mark: str | None) -> Artist:
    if trace.type == "bar":
        return Patch(**marks.bar_look(trace))
    if trace.stackgroup:
        return Patch(facecolor=marks.colour(trace.fillcolor), edgecolor=PAPER, linewidth=0.3)
    look: dict[str, Any] = {}
    mode = trace.mode or "lines+markers"
    if "lines" in mode:
        look |= marks.line_look(trace, mark)
    if "markers" in mode:
        own = marks.mark_look(trace)
        look |= own if "lines" not in mode else {k: v for k, v in own.items() if k != "linestyle"}
    return Line2D([], [], **look)


def legend(parent: FigureBase | Axes, entries: Sequence[Key], room: float) -> Legend:
    """A legend of at most `room` inches, read row by row; its upper left corner is still to be placed."""
    size = points("legend.fontsize")
    apart = (_HANDLE + _GAP) * size / 72
    names = [wrapped(entry.name, size, room - apart - 0.02) for entry in entries]
    each = [apart + max(wide(line, size) for line in name.split("\n")) for name in names]
    columns = next(n for n in range(min(len(each), 4), 0, -1) if n == 1 or _width(each, n, size) <= room)
    order = [i for first in range(columns) for i in range(first, len(each), columns)]  # matplotlib fills columns
    made = parent.legend(
        [entries[i].handle for i in order], [names[i] for i in order], ncols=columns, loc="upper left", frameon=False,
        borderpad=0, borderaxespad=0, handlelength=_HANDLE, handletextpad=_GAP, columnspacing=_BETWEEN,
        labelspacing=0.35, labelcolor=INK, fontsize=size, alignment="left",
    )  # fmt: skip
    for text in made.get_texts():
        text.set_parse_math(False)
    return made


def _width(each: Sequence[float], columns: int, size: float) -> float:
    return sum(max(each[first::columns]) for first in range(columns)) + (columns - 1) * _BETWEEN * size / 72
