"""Where a paper is printed: how wide its columns are, and type that can be read in them.

Widths are those of the venues' LaTeX styles of 2025, in inches; a caption's type has 9 or 10 points, so that figures of
8 and 7 stand below it. All are settings of matplotlib, which last for a `with` block and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from selfrep.errors import SelfrepError


@dataclass(frozen=True)
class Venue:
    """A venue's page.

    Attributes:
        column, text: the widths of a column and of the text (inches); the same where there is one column.
    """

    column: float
    text: float

    @property
    def rc(self) -> dict[Any, Any]:
        """matplotlib's settings: type of 7 to 9 points, and fonts that are embedded as what they are (Type 42).

        Example:
            >>> VENUES["icml"].rc["pdf.fonttype"]
            42
        """
        from selfrep.plots.on_paper.fonts import families

        return {
            "figure.figsize": (self.column, 0.62 * self.column),
            "font.family": list(families()),
            "font.size": 8.0,
            "figure.titlesize": 9.0,
            "axes.titlesize": 8.0,
            "axes.labelsize": 8.0,
            "xtick.labelsize": 7.0,
            "ytick.labelsize": 7.0,
            "legend.fontsize": 7.0,
            "axes.linewidth": 0.6,
            "axes.edgecolor": "#5f6368",
            "axes.labelpad": 2.0,
            "axes.unicode_minus": True,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "hatch.linewidth": 0.4,
            "figure.dpi": 144,
            "savefig.dpi": 300,
            **EMBEDDED,
            **MEASURED,
        }


EMBEDDED: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "pgf.rcfonts": False}
"""Text stays text in a file: no Type 3, which publishers refuse, and no outlines."""

MEASURED: dict[Any, Any] = {"text.hinting": "no_hinting"}
"""Letters are not fitted to pixels, so that a text has one width at any resolution."""

VENUES = {
    "neurips": Venue(5.5, 5.5),
    "iclr": Venue(5.5, 5.5),
    "icml": Venue(3.25, 6.75),
    "acl": Venue(3.03, 6.3),
}
"""The widths of the venues' pages."""

USUAL = VENUES["neurips"]
_now: ContextVar[Venue | None] = ContextVar("venue", default=None)


def venue() -> Venue | None:
    """The page that is written for, within `paper`."""
    return _now.get()


@contextmanager
def paper(name: str) -> Iterator[Venue]:
    """Draw for the page of a venue: "neurips", "iclr", "icml" or "acl".

    Figures that matplotlib draws within take the width of a column, and type of 7 to 9 points. To keep the settings:
    `plt.rcParams.update(sr.plot.VENUES["icml"].rc)`.

    Raises:
        SelfrepError: another venue.

    Example:
        >>> with paper("icml") as page:
        ...     page.column, page.text
        (3.25, 6.75)
    """
    import matplotlib as mpl

    if name not in VENUES:
        raise SelfrepError(
            f"The pages of {', '.join(VENUES)} are known; got {name!r}. For another, give figures a width in inches."
        )
    token = _now.set(VENUES[name])
    try:
        with mpl.rc_context(VENUES[name].rc):
            yield VENUES[name]
    finally:
        _now.reset(token)
