"""What is written on a panel and above it: segments, upright lines, rows, reasons, headings. Nothing overprints."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import ScaledTranslation

from selfrep.plots.on_paper import marks
from selfrep.plots.on_paper.sheet import Part
from selfrep.plots.on_paper.ticks import LEAD, PER_INCH
from selfrep.plots.on_paper.type import bare, points, wide, wrapped
from selfrep.plots.panels import COLUMN, LANDMARK, REASON, ROW, SEGMENT
from selfrep.plots.theme import INK, SOFT

_LEVELS = 4
"""So many rows of names of segments may stand above a map."""


class Writing:
    """The texts of a panel whose axes have a width.

    Attributes:
        ax, part, width: of the panel (inches).
        artists: what was written.
        top: how high what is written above the axes reaches (points).
    """

    def __init__(self, ax: Axes, part: Part, width: float) -> None:
        self.ax, self.part, self.width = ax, part, width
        self.artists: list[Artist] = []
        self.top = 3.0

    def _above(self, text: str, x: float, level: float, size: float, **style: Any) -> None:
        """A text whose foot stands `level` points above the axes; `x` in data units, or None at their left end."""
        coordinates = (self.ax.get_xaxis_transform(), "axes fraction")
        note = self.ax.annotate(
            text, (x, 1.0), (0, level), xycoords=coordinates, textcoords="offset points", va="bottom", fontsize=size,
            parse_math=False, annotation_clip=False, linespacing=1.1, **style,
        )  # fmt: skip
        self.artists.append(note)

    def brackets(self) -> None:
        """The names of segments over the strokes that span them, in as many rows as they need."""
        brackets = [s for s in self.part.shapes if str(s.name or "").startswith(SEGMENT)]
        if not brackets:
            return
        size, (low, high) = points("xtick.labelsize"), self.ax.get_xlim()
        each = self.width / (high - low)
        level = size * 1.15
        ends = np.full(_LEVELS, -np.inf)
        deepest = 0
        for shape in brackets:
            name = bare(str(shape.name).removeprefix(SEGMENT).strip())[0]
            raised = ScaledTranslation(0, 2 / PER_INCH, self.ax.figure.dpi_scale_trans)
            place: marks.Look = {"transform": self.ax.get_xaxis_transform() + raised, "clip_on": False}
            self.artists += self.ax.plot([shape.x0, shape.x1], [1, 1], color=SOFT, linewidth=0.9, **place)
            half = wide(name, size) / 2 + 0.035
            middle = ((shape.x0 + shape.x1) / 2 - low) * each
            middle = min(max(middle, half), max(self.width - half, half))
            free = np.flatnonzero(ends <= middle - half)
            if not len(free):
                continue  # so many short segments in so little room: their strokes tell where they are
            row = int(free[0])
            ends[row], deepest = middle + half, max(deepest, row + 1)
            self._above(name, low + middle / each, 3 + row * level, size, ha="center", color=SOFT)
        self.top += deepest * level + 1

    def notes(self) -> None:
        """All that is said of rows, columns, places and lines; then, above them, the note and the heading."""
        size, (low, high) = points("xtick.labelsize"), self.ax.get_xlim()
        each = self.width / (high - low)
        self._landmarks(size, low, each)
        for note in self.part.notes:
            text = bare(note.text)[0]
            if note.showarrow is not False or note.name in (SEGMENT, LANDMARK):
                continue
            if note.name == REASON:
                told = wrapped(text, points("axes.labelsize"), self.width - 0.2)
                style = {"xycoords": "axes fraction", "ha": "center", "va": "center", "color": SOFT}
                self._write(told, (0.5, 0.5), points("axes.labelsize"), **style)
            elif note.name == COLUMN:
                on_top = note.yref == "paper"
                x = max((wide(bare(n.text)[0], size) for n in self.part.notes if n.name == COLUMN), default=0.0) + 0.05
                self._write(
                    text, (1.0, 1.0 if on_top else float(note.y)), size, xytext=(x * 72, 3 if on_top else 0),
                    xycoords=("axes fraction", "axes fraction" if on_top else "data"), textcoords="offset points",
                    ha="right", va="bottom" if on_top else "center", color=SOFT,
                )  # fmt: skip
            elif note.name == ROW:
                told, style = wrapped(text, size, self.width), {"ha": "left", "va": "bottom", "color": SOFT}
                self._write(told, (0.0, float(note.y)), size, xycoords=("axes fraction", "data"), **style)
            else:
                self._free(note, text, size)
        if any(note.name == COLUMN for note in self.part.notes):
            self.top += size * LEAD
        if self.part.note:
            told = wrapped(self.part.note, size, self.width)
            self._above(told, low, self.top, size, ha="left", color=SOFT)
            self.top += (told.count("\n") + 1) * size * LEAD + 1
        if self.part.heading:
            big = points("axes.titlesize")
            told = wrapped(self.part.heading, big, self.width, bold=True)
            self._above(told, low, self.top, big, ha="left", color=INK, fontweight="bold")

    def _landmarks(self, size: float, low: float, each: float) -> None:
        """What upright lines mean: side by side above them, or one above the other."""
        landmarks = [note for note in self.part.notes if note.name == LANDMARK]
        level, ends, most = self.top, -np.inf, 0
        for note in sorted(landmarks, key=lambda note: float(note.x)):
            told = wrapped(bare(note.text)[0], size, 0.48 * self.width if len(landmarks) > 1 else self.width)
            width, lines = max(wide(line, size) for line in told.split("\n")), told.count("\n") + 1
            at = (float(note.x) - low) * each
            ha = note.xanchor if note.xanchor in ("left", "right") else "center"
            begin = at - {"left": 0.0, "center": width / 2, "right": width}[ha]
            if begin < ends + 0.05:
                level, most = level + most * size * LEAD, 0
            ends, most = begin + width, max(most, lines)
            self._above(told, float(note.x), level, size, ha=ha, color=SOFT)
        self.top = level + most * size * LEAD + (2 if landmarks else 0)

    def _write(self, text: str, at: tuple[float, float], size: float, **style: Any) -> None:
        note = self.ax.annotate(text, at, fontsize=size, parse_math=False, annotation_clip=False, **style)
        self.artists.append(note)

    def _free(self, note: Any, text: str, size: float) -> None:
        """A text that stands where its figure says."""
        units = {"paper": "axes fraction", "domain": "axes fraction"}
        where = [units.get(str(ref or "").split(" ")[-1], "data") for ref in (note.xref, note.yref)]
        told = wrapped(text, size, 0.62 * self.width)
        style = {
            "ha": note.xanchor if note.xanchor in ("left", "right") else "center",
            "va": {"top": "top", "bottom": "bottom"}.get(str(note.yanchor), "center"),
            "xytext": (float(note.xshift or 0) * marks.PT, float(note.yshift or 0) * marks.PT),
            "textcoords": "offset points",
            "xycoords": tuple(where),
            "color": note.font.color or SOFT,
        }
        if told.count("\n") and note.yshift and style["va"] == "center":
            style["va"] = "bottom" if note.yshift > 0 else "top"
        self._write(told, (float(note.x), float(note.y)), size, **style)
        self._bring_in(self.artists[-1])

    def _bring_in(self, note: Artist) -> None:
        """Move a text that would reach beyond the axes into them."""
        box, inner = note.get_window_extent(), self.ax.get_window_extent()
        x = max(inner.x0 - box.x0, 0.0) + min(inner.x1 - box.x1, 0.0)
        y = max(inner.y0 - box.y0, 0.0) + min(inner.y1 - box.y1, 0.0)
        if not isinstance(note, Annotation) or box.width > inner.width:
            return
        scale = PER_INCH / self.ax.figure.dpi
        right, up = note.xyann
        note.xyann = (right + x * scale, up + y * scale)
        inward = -1 if box.y0 + box.y1 > inner.y0 + inner.y1 else 1
        for other in self.artists[:-1]:
            theirs, mine = other.get_window_extent(), note.get_window_extent()
            if isinstance(other, Annotation) and theirs.overlaps(mine):
                step = theirs.y0 - mine.y1 if inward < 0 else theirs.y1 - mine.y0
                note.xyann = (note.xyann[0], note.xyann[1] + step * scale)
