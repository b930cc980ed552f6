"""`sr.plot`: every drawing by its name, the general ones and those of each analysis; and how they come onto paper.

The rooms below know nothing of each other: shapes are in `plots`, and what is drawn of an analysis is in its folder. An
analysis that somebody registers brings its drawings along. Every drawing takes the same options (see `heatmap`).
"""

from __future__ import annotations

from selfrep.analyses import analyses
from selfrep.plots import (
    NO_BROWSER,
    VENUES,
    Drawing,
    browser,
    caption,
    drawing,
    effects,
    panels,
    paper,
    save,
    to_matplotlib,
)
from selfrep.report import opening

__all__ = [
    "NO_BROWSER", "VENUES", "browser", "caption", "heatmap", "panels", "paper", "save", "self_and_persona",
    "to_matplotlib",
]  # fmt: skip

heatmap = drawing(effects.heatmap)
self_and_persona = drawing(opening.self_and_persona)


def figures() -> dict[str, Drawing]:
    """The functions that draw an analysis, by their names; of two with one name, that of the earlier analysis."""
    draws = [figure.draw for analysis in reversed(analyses()) for figure in analysis.load_report().figures]
    return {draw.__name__: drawing(draw) for draw in draws}


def __getattr__(name: str) -> Drawing:
    if name.startswith("_") or name not in (known := figures()):
        raise AttributeError(
            f"There is no drawing {name!r}."
            if name.startswith("_")
            else f"There is no drawing {name!r}; there are {', '.join(sorted([*__all__, *known]))}."
        )
    return known[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *figures()})
