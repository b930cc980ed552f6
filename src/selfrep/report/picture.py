"""What a page draws: a figure without the words that the page sets itself, and the line beside a finding."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selfrep.plots.theme import narrows
from selfrep.report.templating import inert
from selfrep.stats.rounding import negligible
from selfrep.store.findings import Finding

if TYPE_CHECKING:
    import plotly.graph_objects as go

HEADROOM = 46
"""What a figure keeps free for its title and subtitle (px), which the page sets itself."""


@dataclass(frozen=True)
class Picture:
    """A figure as the page draws it: its words, its height in pixels, its plotly JSON, safe in a script element, and
    whether it can be read on a narrow page without scrolling."""

    name: str
    title: str
    subtitle: str
    caption: str
    height: int
    json: str
    about: str = ""
    narrows: bool = False

    @staticmethod
    def of(name: str, title: str, caption: str, figure: go.Figure, about: str = "") -> Picture:
        """The figure without what the page sets: title, subtitle, and a width of its own."""
        drawing = json.loads(figure.to_json())
        layout = {
            key: part for key, part in drawing["layout"].items() if key not in ("title", "width", "height", "meta")
        }
        height, top = figure.layout.height or 450, figure.layout.margin.t
        if figure.layout.title.text and top is not None and top > HEADROOM:
            layout["margin"]["t"], height = top - HEADROOM, height - HEADROOM
        subtitle = _TAG.sub(" ", figure.layout.title.subtitle.text or "")
        return Picture(
            name,
            title,
            html.unescape(subtitle),
            caption,
            round(height),
            inert({"data": drawing["data"], "layout": layout}),
            about,
            narrows(figure),
        )


_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Whisker:
    """A value and its interval on a line that shows zero, all in percent of the line's width."""

    zero: float
    low: float
    high: float
    value: float

    @staticmethod
    def of(finding: Finding) -> Whisker | None:
        """The drawing of a finding; None when it has no interval or is not a number."""
        if finding.interval is None or isinstance(finding.value, str) or finding.value is None:
            return None
        ends = (0.0, *finding.interval, finding.value)
        start, width = min(ends), max(ends) - min(ends)
        width = 1.0 if negligible(width, 1.0, degree=2) else width  # all at 0
        return Whisker(*(round(1 + 98 * (x - start) / width, 2) for x in ends))
