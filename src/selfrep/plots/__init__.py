"""Shapes of drawings, each with a title, a sentence or two on how to read it, and the numbers on hover.

What is drawn of a single analysis is in the folder of that analysis, in `figures.py`.
"""

from selfrep.plots.effects import heatmap
from selfrep.plots.export import NO_BROWSER, browser, save
from selfrep.plots.theme import caption

__all__ = ["NO_BROWSER", "browser", "caption", "heatmap", "save"]
