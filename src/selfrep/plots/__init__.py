"""Shapes of drawings, each with a title, a sentence or two on how to read it, and the numbers on hover.

A drawing makes plotly's figure, which is a description: traces, axes and texts as data. `paper` prints that with
matplotlib, at any width. What is drawn of a single analysis is in the folder of that analysis, in `figures.py`.
"""

from selfrep.plots.effects import heatmap
from selfrep.plots.export import NO_BROWSER, browser, save
from selfrep.plots.joined import panels
from selfrep.plots.options import Drawing, drawing, page, to_matplotlib
from selfrep.plots.theme import caption
from selfrep.plots.venues import VENUES, paper

__all__ = [
    "NO_BROWSER", "VENUES", "Drawing", "browser", "caption", "drawing", "heatmap", "page", "panels", "paper", "save",
    "to_matplotlib",
]  # fmt: skip
