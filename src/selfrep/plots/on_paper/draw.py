"""From figures of plotly to matplotlib: on a page of their own, on axes that are there, or beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from string import ascii_lowercase
from typing import Any

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase, SubFigure
from matplotlib.transforms import ScaledTranslation

from selfrep.errors import SelfrepError
from selfrep.plots.on_paper.block import Block, agree, colour_bar, columns_of, reach
from selfrep.plots.on_paper.legends import keys, legend
from selfrep.plots.on_paper.marks import Look
from selfrep.plots.on_paper.panel import Panel
from selfrep.plots.on_paper.sheet import Sheet, read
from selfrep.plots.on_paper.type import points, wrapped
from selfrep.plots.scales import SCALE, rescale
from selfrep.plots.theme import INK
from selfrep.plots.venues import EMBEDDED, MEASURED, USUAL, venue

NARROWEST, WIDEST = 2.0, 20.0
"""Between these widths something can be read (inches)."""
_APART, _TURNS = 0.12, 3
_PROVISIONAL = 12.0

Target = Axes | SubFigure | np.ndarray | Sequence[Axes]


class Page(Figure):
    """A figure whose texts are as wide in every file as they were measured, and whose fonts are embedded as they are,
    whoever saves it. A subclass, since matplotlib asks its settings for both at the time of drawing."""

    def draw(self, renderer: Any) -> None:
        """Draw, without fitting letters to pixels."""
        with mpl.rc_context(MEASURED):
            super().draw(renderer)

    def savefig(self, *args: Any, **options: Any) -> None:
        """Save as matplotlib does, with text as text."""
        with mpl.rc_context(EMBEDDED):
            super().savefig(*args, **options)


def blank(width: float, height: float) -> Figure:
    """A page that no window shows."""
    figure = Page(figsize=(width, height), dpi=144)
    FigureCanvasAgg(figure)
    return figure


def shown(width: float, height: float) -> Figure:
    """A page that a notebook shows, as all of pyplot's."""
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width, height), dpi=144, FigureClass=Page)


def type_size() -> AbstractContextManager[Any]:
    """The settings of a page, unless those of a venue hold already."""
    return nullcontext() if venue() is not None else mpl.rc_context(USUAL.rc)


def on_page(
    fig: go.Figure,
    width: float | None = None,
    height: float | None = None,
    *,
    page: Callable[[float, float], Figure] = blank,
) -> tuple[Figure, list[Axes]]:
    """A figure of its own, and the axes of its panels.

    Args:
        width, height: in inches; None: a column of the venue that is drawn for, and the height that it needs.
        page: makes the figure.

    Raises:
        SelfrepError: a width in which nothing can be read, or a kind of trace that paper does not know.

    Example:
        >>> figure, (axes,) = on_page(go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="line")), 2.2)
        >>> float(figure.get_size_inches()[0]), [line.get_ydata().tolist() for line in axes.lines]
        (2.2, [[3.0, 4.0], [3.0, 4.0]])
    """
    figure, made = beside([fig], width, height, letters=False, page=page)
    return figure, made[0]


def beside(
    figs: Sequence[go.Figure],
    width: float | None = None,
    height: float | None = None,
    *,
    letters: bool = True,
    share: bool = True,
    columns: int | None = None,
    page: Callable[[float, float], Figure] = blank,
) -> tuple[Figure, list[list[Axes]]]:
    """Several figures on one page, and the axes of each.

    Args:
        letters: whether each is called a, b, ….
        share: whether maps of one quantity have one colour scale.
        columns: how many stand side by side; None: as many as there is room for.
    """
    width = (venue() or USUAL).column if width is None else width
    if not NARROWEST <= width <= WIDEST:
        raise SelfrepError(f"Figures can be read between {NARROWEST:g} and {WIDEST:g} inches of width; got {width:g}.")
    if not figs:
        raise SelfrepError("There is no figure to put on the page.")
    bars = [True] * len(figs)
    if share:
        figs, bars = _shared(figs)
    sheets = [read(fig) for fig in figs]
    columns = max(1, min(len(figs), int(width / 2.6))) if columns is None else min(columns, len(figs))
    each = (width - (columns - 1) * _APART) / columns
    with type_size():
        figure = page(width, _PROVISIONAL)
        names = [ascii_lowercase[i % 26] if letters else "" for i in range(len(figs))]
        blocks = [
            Block(figure, sheet, each, letter=name, bar=bar or columns == 1)
            for sheet, name, bar in zip(sheets, names, bars, strict=True)
        ]
        rows = [blocks[i : i + columns] for i in range(0, len(blocks), columns)]
        given = None if height is None else (height - (len(rows) - 1) * _APART) / len(rows)
        heights = [max(block.lay(given) for block in row) for row in rows]
        figure.set_size_inches(width, height or sum(heights) + (len(rows) - 1) * _APART)
        y = 0.0
        for row, tall in zip(rows, heights, strict=True):
            for i, block in enumerate(row):
                block.put(i * (each + _APART), y)
            y += tall + _APART
    return figure, [block.axes for block in blocks]


def _shared(figs: Sequence[go.Figure]) -> tuple[list[go.Figure], list[bool]]:
    """The figures with one scale for every quantity, and which of them show its bar: the last one of each."""
    names = [((fig.layout.meta or {}).get(SCALE) or {}).get("name") for fig in figs]
    out = []
    for fig, name in zip(figs, names, strict=True):
        alike = [other for other, own in zip(figs, names, strict=True) if own == name]
        if name is None or len(alike) == 1:
            out.append(fig)
            continue
        fig = go.Figure(fig)
        limit = max(float(other.layout.coloraxis.cmax) for other in alike)
        rescale(fig, limit=limit)
        out.append(fig)
    for name in {name for name in names if name is not None and names.count(name) > 1}:
        alike = [fig for fig, own in zip(out, names, strict=True) if own == name]
        widest = min(alike, key=lambda fig: float(fig.layout.coloraxis.cmin)).layout.coloraxis
        for fig in alike:
            fig.layout.coloraxis = widest
    return out, [name is None or name not in names[i + 1 :] for i, name in enumerate(names)]


def on_axes(fig: go.Figure, ax: Target) -> list[Axes]:
    """A figure on axes that are there: one for each of its panels; or one, or a subfigure, whose place they share.

    Type has the size that matplotlib's settings say.

    Raises:
        SelfrepError: another number of axes.
    """
    sheet = read(fig)
    axes = _axes(ax, sheet)
    panels = [Panel(one, part, sheet) for one, part in zip(axes, sheet.parts, strict=True)]
    agree(panels)
    figure = axes[0].figure
    colour_bar(figure, panels, axes)
    columns = _column_count(axes)
    page = float(figure.bbox.width / figure.dpi)
    under = []
    if entries := keys(sheet.parts):
        lowest = min(axes, key=lambda one: (round(one.get_position().y0, 3), one.get_position().x0))
        room = sum(one.get_window_extent().width for one in axes[:columns]) / figure.dpi
        under.append((lowest, legend(lowest, entries, room)))
    labels = {part.xlabel for part in sheet.parts}
    for turn in range(_TURNS):
        for i, panel in enumerate(panels):
            box = panel.ax.get_window_extent()
            last = i + columns >= len(panels)
            panel.fit(
                box.width / figure.dpi, box.height / figure.dpi, min(page, 2 * box.width / figure.dpi),
                left=i % columns == 0, xlabel=panel.part.xlabel if len(labels) > 1 or last else "",
            )  # fmt: skip
        for ax, made in under:
            lowered = ScaledTranslation(0, -reach(ax)[2] - 0.06, figure.dpi_scale_trans)
            made.set_bbox_to_anchor((0, 0), transform=ax.transAxes + lowered)
        if sheet.title and not sheet.parts[0].heading:
            _entitle(panels[0], sheet.title)
        if turn < _TURNS - 1 and figure.figure.get_layout_engine() is not None:
            figure.figure.draw_without_rendering()  # which gives the axes other sizes
    return axes


def _entitle(panel: Panel, title: str) -> None:
    """Write the title of a figure over its panel, above what stands there."""
    size, room = points("axes.titlesize"), panel.ax.get_window_extent().width / panel.ax.figure.dpi
    style: Look = {"fontsize": size, "fontweight": "bold", "color": INK, "parse_math": False, "pad": panel.top + 2}
    panel.ax.set_title(wrapped(title, size, room, bold=True), loc="left", **style)


def _axes(ax: Target, sheet: Sheet) -> list[Axes]:
    n = len(sheet.parts)
    if isinstance(ax, Axes):
        if n == 1:
            return [ax]
        figure, spec = ax.figure, ax.get_subplotspec()
        if spec is None:
            raise SelfrepError(
                f"This figure has {n} panels; give it that many axes, axes of plt.subplots, or a subfigure."
            )
        width = ax.get_window_extent().width / figure.dpi
        ax.remove()
        return _split(figure, spec, sheet, width)
    if isinstance(ax, FigureBase):
        return _split(ax, None, sheet, ax.bbox.width / ax.figure.dpi)
    given = [one for one in np.ravel(np.asarray(ax, dtype=object)) if isinstance(one, Axes)]
    if len(given) != n:
        raise SelfrepError(f"This figure has {n} panel{'s' if n > 1 else ''}; {len(given)} axes were given.")
    return given


def _split(figure: FigureBase, spec: Any, sheet: Sheet, width: float) -> list[Axes]:
    n = len(sheet.parts)
    columns = columns_of(n, sheet.columns, width)
    rows = -(-n // columns)
    grid = figure.add_gridspec(rows, columns) if spec is None else spec.subgridspec(rows, columns)
    return [figure.add_subplot(grid[i // columns, i % columns]) for i in range(n)]


def _column_count(axes: Sequence[Axes]) -> int:
    top = max(ax.get_position().y1 for ax in axes)
    return sum(bool(abs(ax.get_position().y1 - top) < 1e-3) for ax in axes)
