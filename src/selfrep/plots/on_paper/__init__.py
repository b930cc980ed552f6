"""Figures on paper: plotly's figures drawn by matplotlib, at any width, without a browser."""

from selfrep.plots.on_paper.draw import beside, on_axes, on_page

__all__ = ["beside", "on_axes", "on_page"]
