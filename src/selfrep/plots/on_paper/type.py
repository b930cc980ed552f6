"""Type on paper: which fonts there are, how wide a text stands in them, and texts as matplotlib reads them.

Figures write in plotly's subset of HTML, escaped. Here it is turned back, so that nothing a user or a tokenizer wrote
is read as markup, by neither of the two. Widths are measured, never guessed: at 2.2 inches a guess cuts a title.
"""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager, get_font
from matplotlib.text import Text

from selfrep.plots.on_paper.fonts import families
from selfrep.plots.venues import MEASURED

ROUNDING = 1.01
"""How much wider than measured a text is taken to be."""


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    """What the faces can write."""
    paths = (fontManager.findfont(FontProperties(family=name), fallback_to_default=False) for name in families())
    return frozenset().union(*(get_font(path).get_charmap() for path in paths))


def legible(text: str) -> str:
    """The text, where no face here has a character the number of it: boxes would make all such tokens one.

    Example:
        >>> legible("naïve"), legible(chr(0x10FFFF))
        ('naïve', '‹10FFFF›')
    """
    known = _characters()
    if all(c == "\n" or ord(c) in known for c in text):
        return text
    missing = re.compile("[^\n" + "".join(re.escape(c) for c in sorted({c for c in text if ord(c) in known})) + "]+")
    return missing.sub(lambda found: f"‹{' '.join(f'{ord(c):04X}' for c in found[0])}›", text)


def bare(markup: object) -> tuple[str, bool]:
    r"""What an escaped text says, and whether it is bold.

    Example:
        >>> bare("<b>a &lt;b&gt;<br>c</b>"), bare(None)
        (('a <b>\nc', True), ('', False))
    """
    text = str(markup or "")
    bold = text.startswith("<b>")
    lines = re.sub(r"<br\s*/?>", "\n", text)
    return legible(html.unescape(re.sub(r"</?[a-z][^<>]*>", "", lines))), bold


def points(name: str) -> float:
    """A type size of matplotlib's settings in points, e.g. `"axes.labelsize"`."""
    settings: Any = mpl.rcParams
    return float(FontProperties(size=settings[name]).get_size_in_points())


@lru_cache(maxsize=1)
def _ruler() -> tuple[Figure, FigureCanvasAgg]:
    fig = Figure(figsize=(1, 1), dpi=300)
    return fig, FigureCanvasAgg(fig)


def extent(text: str, size: float, *, bold: bool = False) -> tuple[float, float]:
    """How wide and how high a text stands, in inches."""
    family = mpl.rcParams["font.family"]
    return _extent(text, size, bold, tuple([family] if isinstance(family, str) else family))


@lru_cache(maxsize=20_000)
def _extent(text: str, size: float, bold: bool, family: tuple[str, ...]) -> tuple[float, float]:
    fig, canvas = _ruler()
    weight = "bold" if bold else "normal"
    written = Text(0, 0, text, fontsize=size, fontweight=weight, fontfamily=list(family), parse_math=False)
    written.set_figure(fig)
    with mpl.rc_context(MEASURED):
        box = written.get_window_extent(canvas.get_renderer())
    return ROUNDING * box.width / fig.dpi, box.height / fig.dpi


def wide(text: str, size: float, *, bold: bool = False) -> float:
    """How wide a text stands, in inches."""
    return extent(text, size, bold=bold)[0] if text else 0.0


def shortened(text: str, size: float, room: float) -> str:
    """The text, cut in the middle where it is wider than `room` inches; one character at least.

    Example:
        >>> shortened("shipwright", 7.0, 9.0)
        'shipwright'
    """
    if wide(text, size) <= room:
        return text
    for keep in range(len(text) - 1, 1, -1):
        tail = (keep - 1) // 2
        cut = f"{text[: keep - 1 - tail]}…{text[len(text) - tail :]}"
        if wide(cut, size) <= room:
            return cut
    return text[:1]


def wrapped(text: str, size: float, room: float, *, bold: bool = False) -> str:
    """The text in lines of at most `room` inches. Words wider than that are parted."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            for piece in _pieces(word, size, room, bold=bold):
                longer = f"{line} {piece}" if line else piece
                if line and wide(longer, size, bold=bold) > room:
                    lines.append(line)
                    line = piece
                else:
                    line = longer
        lines.append(line)
    return "\n".join(lines)


def _pieces(word: str, size: float, room: float, *, bold: bool) -> list[str]:
    if wide(word, size, bold=bold) <= room:
        return [word]
    pieces, piece = [], ""
    for character in word:
        if piece and wide(piece + character, size, bold=bold) > room:
            pieces.append(piece)
            piece = ""
        piece += character
    return [*pieces, piece]


def renderer(figure: Any) -> RendererAgg:
    """What measures: that of the screen, whatever the figure becomes."""
    root = figure.figure if not isinstance(figure, Figure) else figure
    canvas = root.canvas if isinstance(root.canvas, FigureCanvasAgg) else FigureCanvasAgg(root)
    return canvas.get_renderer()
