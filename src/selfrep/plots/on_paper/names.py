"""Names beside the points of a panel, none over another and none over a point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from selfrep.plots.labels import spread
from selfrep.plots.on_paper.type import bare, extent, points, renderer, shortened
from selfrep.plots.theme import INK, SOFT

_LINE = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 3}
"""From a name to its point, where it had to move away."""


def beside(ax: Axes, notes: Sequence[Any], size_in: tuple[float, float], written: Sequence[Artist]) -> list[Artist]:
    """Write names beside points: all of them where they have room, else none of those that would cover another.

    Args:
        notes: plotly's annotations; those with an arrow are names.
        size_in: width and height of the axes (inches).
        written: what stands on the panel already, and must not be covered.
    """
    named = [note for note in notes if note.showarrow is not False]
    if not named:
        return []
    size, area = points("xtick.labelsize"), np.array(size_in)
    out: list[Artist] = []
    low, high = (np.array(v) for v in zip(ax.get_xlim(), ax.get_ylim(), strict=True))
    anchors = (np.array([[float(n.x), float(n.y)] for n in named]) - low) / (high - low) * area * 96
    texts = [shortened(bare(n.text)[0], size, 0.6 * area[0]) for n in named]
    boxes = np.array([extent(text, size) for text in texts]) * 96 + [3.0, 1.0]
    blocks = _covered(ax, written, area)
    offsets = spread(
        anchors, boxes, np.vstack([anchors, blocks]), np.ones(len(anchors) + len(blocks)), tuple(area * 96)
    )
    placed: list[np.ndarray] = [np.array([b - 4, b + 4]) for b in blocks]
    for k in np.argsort([box[0] for box in boxes], kind="stable"):
        box = np.array([anchors[k] + offsets[k] - boxes[k] / 2, anchors[k] + offsets[k] + boxes[k] / 2])
        if any((box[0] < other[1]).all() and (other[0] < box[1]).all() for other in placed):
            continue
        if (box[0] < -2).any() or (box[1] > area * 96 + 2).any():
            continue
        placed.append(box)
        away = np.hypot(*np.clip(np.abs(offsets[k]) - boxes[k] / 2, 0, None)) > 12
        note = ax.annotate(
            texts[k], (float(named[k].x), float(named[k].y)), tuple(offsets[k] * 0.75), textcoords="offset points",
            ha="center", va="center", fontsize=size, parse_math=False, color=INK, annotation_clip=False,
            arrowprops=_LINE if away else None,
        )  # fmt: skip
        out.append(note)
    return out


def _covered(ax: Axes, written: Sequence[Artist], area: np.ndarray) -> np.ndarray:
    """Points [point, 2] along what is written on the panel already (px of the layout)."""
    ruler, inner = renderer(ax.figure), ax.get_window_extent()
    out = [np.zeros((0, 2))]
    for artist in written:
        box = artist.get_window_extent(ruler)
        scale = 96 * area / np.array([inner.width, inner.height])
        (x0, y0), (x1, y1) = ((np.array(p) - inner.p0) * scale for p in (box.p0, box.p1))
        if y0 < area[1] * 96 and x1 > 0:
            steps = np.stack(np.meshgrid(np.arange(x0, x1 + 6, 6.0), np.arange(y0, y1 + 4, 6.0)), axis=-1)
            out.append(steps.reshape(-1, 2))
    return np.vstack(out)
