"""Points in a plane: one scale on both axes, so that distances can be compared, and names beside the points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from selfrep.plots.labels import spread
from selfrep.plots.text import reach
from selfrep.plots.theme import SOFT, TINY, WIDTH

Array = np.ndarray

LEFT, RIGHT = 52.0, 14.0
"""Margins (px)."""


@dataclass(frozen=True)
class View:
    """The part of the plane that is shown: its lower left and upper right corner in data units, its size in px."""

    low: Array
    high: Array
    width: float
    height: float

    @classmethod
    def of(cls, points: Array) -> View:
        """One that holds all points [point, 2] with room around them; the finite ones of them count."""
        finite = points[np.isfinite(points).all(axis=1)]
        low, high = finite.min(axis=0), finite.max(axis=0)
        middle, size = (low + high) / 2, np.maximum((high - low) * np.array([1.24, 1.16]), 1e-9)
        width = WIDTH - LEFT - RIGHT
        height = float(np.clip(width * size[1] / size[0], 200, 420))
        scale = min(width / size[0], height / size[1])  # px a unit
        half = np.array([width, height]) / scale / 2
        return cls(middle - half, middle + half, width, height)

    def pixels(self, points: Array) -> Array:
        """Where points stand, from the lower left corner."""
        return (points - self.low) * (self.width / (self.high - self.low)[0])


def write_names(fig: go.Figure, names: Sequence[str], anchors: Array, marks: Array, weights: Array, view: View) -> None:
    """Write names (escaped) beside their anchors, with a thin line to those that had to move away.

    Args:
        anchors: what is named [name, 2].
        marks, weights: points that are better left uncovered, and how much better.
    """
    sizes = np.array([[reach(text, TINY) + 2, TINY + 2] for text in names]).reshape(-1, 2)
    offsets = spread(view.pixels(anchors), sizes, view.pixels(marks), weights, (view.width, view.height))
    for text, anchor, offset, size in zip(names, anchors, offsets, sizes, strict=True):
        away = np.hypot(*np.clip(np.abs(offset) - size / 2, 0, None))
        fig.add_annotation(
            text=text,
            x=anchor[0],
            y=anchor[1],
            ax=offset[0],
            ay=-offset[1],
            showarrow=True,
            arrowhead=0,
            arrowwidth=0.7,
            arrowcolor=SOFT if away > 12 else "rgba(0,0,0,0)",
            standoff=5,
            borderpad=0,
            font={"size": TINY},
        )
