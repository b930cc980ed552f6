"""One panel on paper: what it shows, drawn once; and what is written on it, which is fitted to its size.

Fewer ticks, tokens that leave some out, segments alone, names in several lines: what a reader loses least by is done
first, and nothing is cut or overprinted.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.ticker import MaxNLocator, NullLocator

from selfrep.plots.on_paper import marks
from selfrep.plots.on_paper.names import beside
from selfrep.plots.on_paper.sheet import Part, Sheet
from selfrep.plots.on_paper.ticks import LEAD, PER_INCH, apart, numeric, span, thinned
from selfrep.plots.on_paper.type import bare, points, shortened, wide, wrapped
from selfrep.plots.on_paper.writing import Writing
from selfrep.plots.panels import ROW, SEGMENT
from selfrep.plots.theme import INK, NOTHING, SOFT

_FEWEST = 0.3
"""Tokens are left out where there is room for a smaller share of them, and their segments are named."""
_NAMES = 0.42
"""The names of rows take this share of a figure's width at most."""

_FEW_ROWS = 16
"""Of more rows than these, each has one line."""


class Panel:
    """A panel on matplotlib's axes.

    Attributes:
        ax, part: where and what.
        top: how high what is written above the axes reaches (points).
        mesh: the cells of its heat map, if it is one.
    """

    def __init__(self, ax: Axes, part: Part, sheet: Sheet, *, hatched: bool = True) -> None:
        self.ax, self.part, self.sheet = ax, part, sheet
        self.mesh: QuadMesh | None = None
        self.top = 0.0
        self._fitted: list[Artist] = []
        ax.set_axisbelow(True)
        for name in ("top", "right"):
            ax.spines[name].set_visible(False)
        for _, trace in part.traces:
            if trace.type == "heatmap":
                self.mesh = marks.cells(ax, trace, sheet.coloraxis, hatched=hatched)
                ax.set_facecolor(NOTHING)
        marks.draw(ax, part.traces)
        self._rules()
        self._reach("x", part.xaxis)
        self._reach("y", part.yaxis)

    def _reach(self, side: Literal["x", "y"], axis: Any) -> None:
        ax, shown = self.ax, axis.visible is not False
        if axis.range is not None:
            getattr(ax, f"set_{side}lim")(*axis.range)
        elif axis.rangemode == "tozero":
            low, high = getattr(ax, f"get_{side}lim")()
            getattr(ax, f"set_{side}lim")(min(low, 0.0), max(high, 0.0))
        if axis.showgrid:
            ax.grid(axis=side, color="#e6e6e6", linewidth=0.5)
        if axis.zeroline:
            (ax.axvline if side == "x" else ax.axhline)(0, color=axis.zerolinecolor or SOFT, linewidth=0.6, zorder=1)
        if axis.showline is False or not shown:
            ax.spines["bottom" if side == "x" else "left"].set_visible(False)

    def _rules(self) -> None:
        for shape in self.part.shapes:
            if shape.type != "line" or str(shape.name or "").startswith(SEGMENT):
                continue
            style: marks.Look = {
                "color": shape.line.color or SOFT,
                "linewidth": 0.7,
                "zorder": 1 if shape.layer == "below" else 2,
            }
            if str(shape.xref or "").endswith("domain") or shape.xref == "paper":
                self.ax.axhline(shape.y0, **style)
            elif str(shape.yref or "").endswith("domain") or shape.yref == "paper":
                self.ax.axvline(shape.x0, **style)
            else:
                self.ax.plot([shape.x0, shape.x1], [shape.y0, shape.y1], **style)

    def least_height(self, width: float, page: float) -> float:
        """What its rows need, each with its name and with what is written over it (inches), at a width of its axes."""
        if not self._has_rows:
            return 0.0
        size, n = points("xtick.labelsize"), span(self.ax.get_ylim())
        over = [wrapped(bare(a.text)[0], size, width).count("\n") + 1 for a in self.part.notes if a.name == ROW]
        names = [self._row_name(bare(text)[0], size, page).count("\n") + 1.0 for text in self.part.yaxis.ticktext]
        return max(max(names), max(over, default=0) / 0.4) * size * LEAD / PER_INCH * n

    @property
    def _has_rows(self) -> bool:
        """Whether its vertical axis names rows."""
        axis = self.part.yaxis
        return bool(axis.tickvals is not None and axis.ticktext and not self.part.is_map and not numeric(axis.ticktext))

    def fit(self, width: float, height: float, page: float, *, left: bool, xlabel: str) -> None:
        """Write what belongs to a panel of this size.

        Args:
            width, height: of its axes (inches).
            page: the width of the figure.
            left: whether it stands at the left, where the vertical axis is told.
            xlabel: the title of its horizontal axis.
        """
        for artist in self._fitted:
            artist.remove()
        self._width = width
        if self.part.aspect is not None:
            self._widen(height / width)
        self._x_ticks(width, xlabel)
        self._y_ticks(height, page, left=left)
        written = Writing(self.ax, self.part, width)
        written.brackets()
        written.notes()
        self.top = written.top
        self._fitted = [*written.artists, *beside(self.ax, self.part.notes, (width, height), written.artists)]

    def _row_name(self, text: str, size: float, page: float, most: int = 9) -> str:
        """The name of a row: in two lines if need be, where rows are few and high; else cut in the middle."""
        room = _NAMES * page
        if wide(text, size) <= room:
            return text
        lines = wrapped(text.replace("\n", " "), size, room)
        if lines.count("\n") <= min(max(len(self.part.yaxis.tickvals) <= _FEW_ROWS, text.count("\n")), most - 1):
            return lines
        if text.count("\n") >= most:
            return shortened(text.replace("\n", " "), size, room)
        return "\n".join(shortened(line, size, room) for line in text.split("\n"))

    # Axes

    def _widen(self, aspect: float) -> None:
        """Show more of a plane to one side, so that both axes keep one scale."""
        (left, right), (low, high) = self.part.xaxis.range, self.part.yaxis.range
        wide_, tall = max(right - left, (high - low) / aspect), max(high - low, (right - left) * aspect)
        self.ax.set_xlim((left + right - wide_) / 2, (left + right + wide_) / 2)
        self.ax.set_ylim((low + high - tall) / 2, (low + high + tall) / 2)

    def _x_ticks(self, room: float, label: str) -> None:
        axis, ax, size = self.part.xaxis, self.ax, points("xtick.labelsize")
        places = self.part.is_map and self.sheet.places and not self.sheet.transposed
        if axis.showticklabels is False or axis.visible is False:
            ax.xaxis.set_major_locator(NullLocator())
        elif axis.tickvals is not None:
            at = [*map(float, range(len(self.sheet.places)))] if places else [float(v) for v in axis.tickvals]
            texts = list(self.sheet.places) if places else [bare(t)[0] for t in axis.ticktext]
            at, texts, upright = thinned(at, texts, size, room / span(ax.get_xlim()), room, tokens=bool(places))
            bracketed = any(str(shape.name or "").startswith(SEGMENT) for shape in self.part.shapes)
            if bracketed and places and len(at) < _FEWEST * len(self.sheet.places):
                at, texts = [], []
            ax.set_xticks(at, texts, rotation=90 if upright else 0, **_PLAIN)
        else:
            self._round_ticks(int(axis.nticks or 9), size)
        ax.tick_params("x", length=2.0 if axis.ticks != "" else 0, color=SOFT, labelcolor=INK, pad=2)
        told = wrapped(label, points("axes.labelsize"), max(room, 0.8)) if label else ""
        ax.set_xlabel(told, parse_math=False, color=INK)

    def _round_ticks(self, most: int, size: float) -> None:
        """Round numbers on the horizontal axis, as many as stand apart."""
        axis, (low, high) = self.ax.xaxis, self.ax.get_xlim()
        each = self._width / (high - low)
        for n in range(most, 0, -1):
            axis.set_major_locator(MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]))
            at = np.array([v for v in axis.get_majorticklocs() if low <= v <= high])
            texts = axis.get_major_formatter().format_ticks(at.tolist())
            if len(at) < 2 or np.diff(at).min() * each > max(wide(t, size) for t in texts) + 0.05:
                return

    def _y_ticks(self, room: float, page: float, *, left: bool) -> None:
        axis, ax, size = self.part.yaxis, self.ax, points("ytick.labelsize")
        rows = self._has_rows
        places = self.part.is_map and self.sheet.places and self.sheet.transposed
        label = self.part.ylabel
        if axis.visible is False or (axis.tickvals is not None and not len(axis.tickvals)):
            ax.yaxis.set_major_locator(NullLocator())
        elif axis.tickvals is not None:
            at = [*map(float, range(len(self.sheet.places)))] if places else [float(v) for v in axis.tickvals]
            given = list(self.sheet.places) if places else axis.ticktext or [f"{v:g}" for v in axis.tickvals]
            pairs = [(text, False) if places else bare(text) for text in given]
            texts, bold = [text for text, _ in pairs], [heavy for _, heavy in pairs]
            if rows:
                lines = int(room / span(ax.get_ylim()) / (size * LEAD / PER_INCH) + 0.05)
                texts = [self._row_name(text, size, page, lines) for text in texts]
            else:
                each = room / span(ax.get_ylim())
                line = size * 1.15 / PER_INCH
                step = next(s for s in range(1, len(at) + 1) if s * each * np.diff(at).min(initial=9) >= line)
                if places and step * _FEWEST > 1 and self.sheet.segments:
                    at, texts = [(a + b) / 2 for _, a, b in self.sheet.segments], [n for n, *_ in self.sheet.segments]
                    at, texts, bold = apart(at, texts, line / each)
                elif self.sheet.transposed and not places:  # segments alone, which lie at any distance
                    at, texts, bold = apart(at, texts, line / each)
                else:
                    begin = (len(at) - 1) % step if places else 0
                    at, texts, bold = at[begin::step], texts[begin::step], bold[begin::step]
            ax.set_yticks(at, texts, **_PLAIN)
            for tick, heavy in zip(ax.yaxis.get_major_ticks(), bold, strict=True):
                tick.label1.set_fontweight("bold" if heavy else "normal")
        else:
            most = min(int(axis.nticks or 6), max(2, int(room / 0.24)))
            ax.yaxis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
        hidden = self.part.shared and not left
        ax.tick_params("y", length=0 if rows else 2.0, color=SOFT, labelcolor=INK, pad=3 if rows else 2)
        ax.tick_params("y", labelleft=not hidden)
        shown = "" if hidden or not label else wrapped(label, points("axes.labelsize"), max(room * 1.15, 0.6))
        ax.set_ylabel(shown, parse_math=False, color=INK)


_PLAIN = {"parse_math": False}
"""Texts are no TeX."""
