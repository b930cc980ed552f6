"""`sr.plot`: every drawing by its name, the general ones and those of each analysis.

The rooms below know nothing of each other: shapes are in `plots`, and what is drawn of an analysis is in its folder. An
analysis that somebody registers brings its drawings along.
"""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from selfrep.analyses import analyses
from selfrep.plots import NO_BROWSER, browser, caption, heatmap, save
from selfrep.report.opening import self_and_persona

__all__ = ["NO_BROWSER", "browser", "caption", "heatmap", "save", "self_and_persona"]


def figures() -> dict[str, Callable[..., go.Figure]]:
    """The functions that draw an analysis, by their names; of two with one name, that of the earlier analysis."""
    draws = [figure.draw for analysis in reversed(analyses()) for figure in analysis.load_report().figures]
    return {draw.__name__: draw for draw in draws}


def __getattr__(name: str) -> Callable[..., go.Figure]:
    if name.startswith("_") or name not in (known := figures()):
        raise AttributeError(
            f"There is no drawing {name!r}."
            if name.startswith("_")
            else f"There is no drawing {name!r}; there are {', '.join(sorted([*__all__, *known]))}."
        )
    return known[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *figures()})
