"""Files of matplotlib's figures: text as text, in fonts that publishers take, the same bytes for the same figure."""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pgf import RendererPgf

from selfrep.plots.venues import EMBEDDED, MEASURED

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

DPI = 300
"""Dots an inch of a PNG."""
_DATES: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None, "ModDate": None}, "svg": {"Date": None}, "png": {}}


def content(figure: Figure, kind: str) -> bytes:
    """A figure as the content of a file: "pdf", "svg", "png" or "pgf".

    Example:
        >>> from matplotlib.figure import Figure
        >>> content(Figure(figsize=(1, 1)), "pgf").decode().splitlines()[-3:]
        ['\\\\end{pgfpicture}', '\\\\makeatother', '\\\\endgroup']
    """
    if kind == "pgf":
        return _pgf(figure).encode()
    out = BytesIO()
    with mpl.rc_context(EMBEDDED | MEASURED | {"svg.hashsalt": "selfrep"}):
        figure.savefig(out, format=kind, dpi=DPI, metadata=_DATES[kind])
    return out.getvalue()


class _Pgf(RendererPgf):
    """Draws for LaTeX, but measures texts by itself: matplotlib's own asks a running LaTeX for each, which need not be
    there. Whoever includes the file sets the texts in the document's type, whose letters are narrower."""

    def __init__(self, figure: Figure, out: StringIO) -> None:
        super().__init__(figure, out)
        self._ruler = FigureCanvasAgg(figure).get_renderer()

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool | str
    ) -> tuple[float, float, float]:
        """As the screen measures them."""
        width, height, descent = self._ruler.get_text_width_height_descent(s, prop, ismath)
        return float(width), float(height), float(descent)

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: Any,
        angle: float,
        ismath: bool | str = False,
        mtext: Any = None,
    ) -> None:
        """A text as LaTeX writes it; matplotlib leaves a dollar or an underscore what it is to LaTeX."""
        super().draw_text(gc, x, y, s.translate(_LATEX), prop, angle, ismath, mtext)


_MATH = {
    "−": "-", "→": r"\rightarrow", "⏎": r"\hookleftarrow", "⇥": r"\mapsto", "▸": r"\triangleright", "≥": r"\geq",
    "≤": r"\leq", "Δ": r"\Delta", "λ": r"\lambda", "φ": r"\varphi", "π": r"\pi", "‹": r"\langle", "›": r"\rangle",
    "×": r"\times", "‿": r"\smile", "<": "<", ">": ">", "|": "|",
}  # fmt: skip
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "{}$&#_"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "␣": r"\textvisiblespace{}"}
    | {c: rf"\ensuremath{{{name}}}" for c, name in _MATH.items()}
)
"""What LaTeX would read otherwise, and what the fonts of pdfLaTeX lack; matplotlib sees to percent signs and carets."""


def _pgf(figure: Figure) -> str:
    """A figure for input into a LaTeX document that loads pgf."""
    out, (width, height) = StringIO(), figure.get_size_inches()
    out.write("% For \\input; needs \\usepackage{pgf}.\n\\begingroup\n\\makeatletter\n\\begin{pgfpicture}\n")
    out.write(f"\\pgfpathrectangle{{\\pgfpointorigin}}{{\\pgfqpoint{{{width:.4f}in}}{{{height:.4f}in}}}}\n")
    out.write("\\pgfusepath{use as bounding box, clip}\n")
    with mpl.rc_context(EMBEDDED | MEASURED):
        figure.draw(_Pgf(figure, out))
    out.write("\\end{pgfpicture}\n\\makeatother\n\\endgroup\n")
    return out.getvalue()
