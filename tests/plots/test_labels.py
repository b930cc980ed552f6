"""Names stand beside their points and keep clear of one another."""

from __future__ import annotations

import numpy as np
import pytest

from selfrep.plots.labels import spread

AREA = (460.0, 300.0)


def shared(middles: np.ndarray, sizes: np.ndarray) -> float:
    """Area that the boxes share, pair by pair (px²)."""
    total = 0.0
    for i in range(len(middles)):
        for j in range(i):
            total += float(np.clip((sizes[i] + sizes[j]) / 2 - np.abs(middles[i] - middles[j]), 0, None).prod())
    return total


@pytest.mark.parametrize("seed", range(5))
def test_sixteen_names_keep_clear_inside_the_area(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors = rng.normal((230, 150), (90, 50), (16, 2)).clip(10, (450, 290))
    sizes = np.stack([rng.uniform(20, 110, 16), np.full(16, 11.0)], axis=1)
    offsets = spread(anchors, sizes, anchors, np.ones(16), AREA)
    middles = anchors + offsets
    above = anchors + np.array([0, 10])
    assert shared(above, sizes) > 100, "the control: names all put above their points do collide"
    assert shared(middles, sizes) < 10
    assert (middles - sizes / 2 > -2).all()
    assert (middles + sizes / 2 < np.array(AREA) + 2).all()


def test_a_lone_name_stands_close() -> None:
    offset = spread(np.array([[200.0, 100.0]]), np.array([[40.0, 11.0]]), np.array([[200.0, 100.0]]), np.ones(1), AREA)[
        0
    ]
    gap = np.hypot(*np.clip(np.abs(offset) - [20, 5.5], 0, None))
    assert 3 < gap < 12


def test_no_names_no_offsets() -> None:
    assert spread(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), AREA).shape == (0, 2)
