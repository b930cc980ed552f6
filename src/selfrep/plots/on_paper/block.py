"""A figure on paper: its panels in as many columns as its width holds, and around them its title, colour bar and keys.

Everything is measured and then placed; the height is what comes out, so that no two things meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure, FigureBase
from matplotlib.legend import Legend
from matplotlib.path import Path
from matplotlib.text import Text

from selfrep.plots.on_paper import marks
from selfrep.plots.on_paper.legends import keys, legend
from selfrep.plots.on_paper.panel import Panel
from selfrep.plots.on_paper.sheet import Part, Sheet
from selfrep.plots.on_paper.type import bare, extent, points, renderer, wrapped
from selfrep.plots.theme import DPI, INK, SOFT, WIDTH

PAGE = WIDTH / DPI
"""The width that figures are laid out for (inches)."""
_EDGE, _GAP, _BAR = 0.03, 0.09, 0.09
"""Room at the edges, between things, and the width of a colour bar (inches)."""
_SHRINKS, _GROWS = 0.6, 1.2
"""How far the height of panels follows their width."""
_FLATTEST = 0.62
"""A plane is at least this high, by its width: so that names beside points have room."""
_TALLEST = 5.0
"""And no higher than this (inches)."""
_TURNS, _AGREED = 3, 0.004
"""Texts make the margins, and margins the room for texts: so often, at most, until the room changes by so little."""


class Block:
    """A figure that is being laid out on a matplotlib figure, `width` inches wide.

    Attributes:
        axes: of its panels, in the order of reading.
        height: what it takes (inches).
    """

    def __init__(self, figure: Figure, sheet: Sheet, width: float, *, letter: str = "", bar: bool = True) -> None:
        self._figure, self._sheet, self.width = figure, sheet, width
        self._panels = [Panel(figure.add_axes((0, 0, 0.5, 0.5)), part, sheet) for part in sheet.parts]
        self.axes: list[Axes] = [panel.ax for panel in self._panels]
        self.head = [*_heads(figure, letter, sheet, width - 2 * _EDGE)]
        self._bar = bar and colour_bar(figure, self._panels, None)
        self._legends = self._keys()
        self._places: list[tuple[Any, float, float, float, float]] = []
        agree(self._panels)

    def _keys(self) -> dict[int, Legend]:
        """Legends by the panel that they stand below."""
        parts = self._sheet.parts
        found: dict[int, Legend] = {}
        for name in dict.fromkeys(part.legend for part in parts):
            mine = [part for part in parts if part.legend == name]
            if entries := keys(mine):
                made = legend(self._figure, entries, self.width - 2 * _EDGE)
                self._figure.legends.remove(made)  # matplotlib forgets one at the next; all are kept as artists
                self._figure.add_artist(made)
                found[parts.index(mine[-1])] = made
        return found

    def lay(self, height: float | None = None) -> float:
        """Measure everything, and say how high it is.

        Args:
            height: what it must be (inches); panels are stretched to it. None: what panels need.
        """
        stacked = len(self._legends) > 1 or not any(part.shared for part in self._sheet.parts)
        n = len(self._panels)
        columns = 1 if stacked and self._sheet.columns == 1 else columns_of(n, self._sheet.columns, self.width)
        rows = -(-n // columns)
        place = [(i // columns, i % columns) for i in range(n)]
        room = (self.width - 0.55) / columns - 0.1
        heights = np.full(rows, 1.5)
        for _ in range(_TURNS):
            heights = self._heights(place, rows, room)
            over = self._fit(place, room, heights, columns)
            left, right = over[:, 0], over[:, 1]
            column = np.array([c for _, c in place])
            at = [float(left[column == c].max()) for c in range(columns)]
            end = [float(right[column == c].max()) for c in range(columns)]
            bar = self._bar_width()
            taken = sum(at) + sum(end) + (columns - 1) * _GAP + bar + 2 * _EDGE
            before, room = room, max((self.width - taken) / columns, 0.25)
            if abs(room - before) < _AGREED:
                break
        heights = self._heights(place, rows, room)
        over = self._fit(place, room, heights, columns)
        at = [max(float(over[column == c, 0].max()), at[c]) for c in range(columns)]
        return self._place(place, room, heights, over, at, end, columns, height)

    def _heights(self, place: Sequence[tuple[int, int]], rows: int, room: float) -> np.ndarray:
        heights = np.zeros(rows)
        for panel, (row, _) in zip(self._panels, place, strict=True):
            heights[row] = max(heights[row], height_of(panel.part, room), panel.least_height(room, self.width))
        return heights

    def _fit(self, place: Sequence[tuple[int, int]], room: float, heights: np.ndarray, columns: int) -> np.ndarray:
        """Fit all panels; how far each reaches beyond its axes to the left, right, below and above (inches)."""
        last = {c: max(r for r, k in place if k == c) for c in range(columns)}
        labels = [panel.part.xlabel for panel in self._panels]
        one = next(filter(None, labels), "") if len(set(filter(None, labels))) == 1 else None
        page, over = self._figure.get_size_inches(), []
        for panel, (row, column) in zip(self._panels, place, strict=True):
            panel.ax.set_position((0.3, 0.3, room / page[0], heights[row] / page[1]))
            label = panel.part.xlabel if one is None else one if row == last[column] or self._stack_labels() else ""
            panel.fit(room, float(heights[row]), self.width, left=column == 0, xlabel=label)
            over.append(reach(panel.ax))
        return np.array(over)

    def _stack_labels(self) -> bool:
        return len(self._legends) > 1

    def _bar_width(self) -> float:
        if not self._bar:
            return 0.0
        page = self._figure.get_size_inches()
        self._bar.ax.set_position((0.5, 0.3, _BAR / page[0], 1.0 / page[1]))
        left, right, *_ = reach(self._bar.ax)
        return float(_GAP + left + _BAR + right)

    def _place(
        self, place: Sequence[tuple[int, int]], room: float, heights: np.ndarray, over: np.ndarray,
        at: Sequence[float], end: Sequence[float], columns: int, height: float | None,
    ) -> float:  # fmt: skip
        """Where everything stands, from the upper left corner (inches)."""
        row_of = np.array([row for row, _ in place])
        above = [float(over[row_of == r, 3].max()) for r in range(len(heights))]
        below = [float(over[row_of == r, 2].max()) for r in range(len(heights))]
        if self._bar:
            *_, foot, top = reach(self._bar.ax)
            above[0], below[-1] = max(above[0], top), max(below[-1], foot)
        head = sum(extent_of(text)[1] + gap for text, gap in self.head)
        legends = {place[i][0]: made for i, made in self._legends.items()}
        under = [self._key_height(legends.get(r)) for r in range(len(heights))]
        fixed = 2 * _EDGE + head + sum(above) + sum(below) + sum(under) + (len(heights) - 1) * _GAP
        if height is not None:
            heights = heights * max(height - fixed, 0.25 * len(heights)) / heights.sum()
        places = self._places = []
        y = _EDGE
        for text, gap in self.head:
            places.append((text, _EDGE, y, 0.0, 0.0))
            y += extent_of(text)[1] + gap
        x = [_EDGE + at[0]]
        for c in range(1, columns):
            x.append(x[-1] + room + end[c - 1] + _GAP + at[c])
        first = y + above[0]
        for row, tall in enumerate(heights):
            y += above[row]
            for panel, (r, c) in zip(self._panels, place, strict=True):
                if r == row:
                    places.append((panel.ax, x[c], y, room, float(tall)))
            y += tall
            last = y
            y += below[row] + (_GAP if row < len(heights) - 1 else 0)
            if row in legends:
                places.append((legends[row], _EDGE, y + 0.05, 0.0, 0.0))
                y += under[row]
        if self._bar:
            left = reach(self._bar.ax)[0]
            places.append((self._bar.ax, x[-1] + room + end[-1] + _GAP + left, first, _BAR, last - first))
        self.height = y + _EDGE
        return self.height

    def _key_height(self, made: Legend | None) -> float:
        if made is None:
            return 0.0
        box = made.get_window_extent(renderer(self._figure))
        return float(box.height / self._figure.dpi) + 0.08

    def put(self, x: float = 0.0, y: float = 0.0) -> None:
        """Put it on the page, whose size is settled; its upper left corner stands at (x, y) inches."""
        width, height = self._figure.get_size_inches()
        for thing, left, top, across, up in self._places:
            corner = ((x + left) / width, 1 - (y + top) / height)
            if isinstance(thing, Axes):
                thing.set_position((corner[0], corner[1] - up / height, across / width, up / height))
            elif isinstance(thing, Legend):
                thing.set_bbox_to_anchor((*corner, 0, 0), transform=self._figure.transFigure)
            else:
                thing.set_position(corner)


def columns_of(n: int, columns: int, width: float) -> int:
    """In how many columns `n` panels stand at this width, that were laid out in so many on a page."""
    return int(min(n, max(1, round(columns * width / PAGE - 0.08))))


def height_of(part: Part, room: float) -> float:
    """How high the axes of a panel are that are `room` inches wide."""
    if part.aspect is not None:
        return min(max(part.aspect, _FLATTEST) * room, _TALLEST)
    rows = part.yaxis.tickvals is not None and not part.is_map and part.yaxis.ticktext is not None
    grown = 1.0 if rows else float(np.clip(room / part.width, _SHRINKS, _GROWS))
    return part.height * grown


def reach(ax: Axes) -> tuple[float, float, float, float]:
    """How far what belongs to axes reaches beyond them to the left, right, below and above (inches)."""
    own = [artist for artist in ax.get_default_bbox_extra_artists() if not isinstance(artist, Legend)]
    inner, dpi = ax.get_window_extent(), ax.figure.dpi
    outer = ax.get_tightbbox(renderer(ax.figure), bbox_extra_artists=own)
    if outer is None:
        return 0.0, 0.0, 0.0, 0.0  # nothing of it is seen
    sides = (inner.x0 - outer.x0, outer.x1 - inner.x1, inner.y0 - outer.y0, outer.y1 - inner.y1)
    left, right, below, above = (max(0.0, float(side) / dpi) for side in sides)
    return left, right, below, above


def agree(panels: Sequence[Panel]) -> None:
    """One range for the axes that panels share."""
    shared = [panel.ax for panel in panels if panel.part.shared and panel.part.yaxis.range is None]
    if len(shared) > 1:
        low, high = zip(*(ax.get_ylim() for ax in shared), strict=True)
        for ax in shared:
            ax.set_ylim(min(low), max(high))


def _heads(figure: Figure, letter: str, sheet: Sheet, room: float) -> list[tuple[Text, float]]:
    """Title and subtitle in lines, each with the space below it (inches)."""
    big, size = points("figure.titlesize"), points("axes.labelsize")
    texts = ((" ".join(filter(None, (letter, sheet.title))), big, "bold", INK), (sheet.subtitle, size, "normal", SOFT))
    out = []
    for text, points_, weight, ink in texts:
        if text:
            told = wrapped(text, points_, room, bold=weight == "bold")
            style: marks.Look = {"fontweight": weight, "color": ink, "ha": "left", "va": "top", "linespacing": 1.1}
            out.append((figure.text(0, 1, told, fontsize=points_, parse_math=False, **style), 0.03))
    return [*out[:-1], (out[-1][0], 0.07)] if out else []


def extent_of(text: Text) -> tuple[float, float]:
    """Width and height of a written text (inches)."""
    return extent(text.get_text(), float(text.get_fontsize()), bold=text.get_fontweight() == "bold")


def colour_bar(figure: FigureBase, panels: Sequence[Panel], axes: Sequence[Axes] | None) -> Colorbar | None:
    """The bar that tells the colours of maps; beside these axes, or to be placed yet (None)."""
    panel = next((one for one in panels if one.mesh is not None), None)
    if panel is None or panel.mesh is None:
        return None
    sheet, size = panel.sheet, points("xtick.labelsize")
    if axes is None:
        bar = figure.colorbar(panel.mesh, cax=figure.add_axes((0.5, 0.5, 0.02, 0.2)))
    else:
        bar = figure.colorbar(panel.mesh, ax=list(axes), aspect=24, pad=0.03)
    given = sheet.coloraxis
    bar.set_ticks(list(given.colorbar.tickvals or ()), labels=[bare(t)[0] for t in given.colorbar.ticktext or ()])
    bar.ax.tick_params(length=2, labelsize=size, color=SOFT, labelcolor=INK, pad=1.5)
    bar.outline.set_visible(False)
    bar.ax.set_title(
        sheet.scale, fontsize=points("axes.titlesize"), fontweight="bold", color=INK, pad=3, parse_math=False
    )
    low = float(given.cmin)
    if low < 0:
        edges = np.array([(0, low), (1, low), (1, 0), (0, 0), (0, low)])
        marks.hatch(bar.ax, Path(edges), next(iter(marks.HATCH_INKS)))
    floor, key = sheet.floor
    if floor is not None and floor <= given.cmax:
        bar.ax.plot([0], [floor], ">", color=INK, markersize=3, clip_on=False, transform=bar.ax.get_yaxis_transform())
    if key:
        style: marks.Look = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "left", "va": "top"}
        bar.ax.annotate(key, (0, 0), (0, -4), fontsize=size, color=INK, parse_math=False, **style)
    return bar
