"""What is wrong with a drawn figure, by the boxes of all its texts: cut at an edge, or printed over one another."""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from selfrep.plots.venues import MEASURED

SLACK = 1.0
"""Points that two boxes may share: letters do not fill theirs."""


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every text that is seen, with its box in points."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    hidden = _beyond(figure)
    found = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden:
            with mpl.rc_context(MEASURED):
                box = Text.get_window_extent(text, canvas.get_renderer())
            found.append((text.get_text(), Bbox(box.get_points() * 72 / figure.dpi)))
    return found


def _beyond(figure: Figure) -> set[int]:
    """The labels of ticks that are not drawn: left over, or beyond the ends of their axis."""
    out = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            drawn = axis.get_major_ticks()
            for tick in [*axis.majorTicks, *axis.minorTicks]:
                if tick not in drawn or not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    out |= {id(tick.label1), id(tick.label2)}
    return out


def faults(figure: Figure) -> list[str]:
    """What is cut, and what lies on what."""
    found, (width, height) = texts(figure), figure.get_size_inches() * 72
    out = [
        f"cut: {text!r} {box.extents.round(1)}"
        for text, box in found
        if box.x0 < -0.1 or box.y0 < -0.1 or box.x1 > width + 0.1 or box.y1 > height + 0.1
    ]
    for (one, a), (other, b) in combinations(found, 2):
        shared = Bbox.intersection(a, b)
        if shared is not None and shared.width > SLACK and shared.height > SLACK:
            out.append(f"over one another: {one!r} {a.extents.round(1)}, {other!r} {b.extents.round(1)}")
    return out
