"""Depth: layers as shares of a model, so that one study fits models of any size; and which layer is reported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DEPTH = 0.75
"""The layer that is reported, as a share of the depth: fixed beforehand, so that none is picked for its number."""


def reported_layer(layers: np.ndarray) -> int:
    """The layer nearest to three quarters of the depth, of those that were computed.

    Args:
        layers: 0-indexed blocks, in any order.

    Returns:
        One of them.

    Example:
        >>> reported_layer(np.array([0, 4, 8, 12]))
        8
    """
    return int(layers[np.abs(layers - DEPTH * layers.max()).argmin()])


def layers_at(depths: Sequence[float], n_layers: int) -> tuple[int, ...]:
    """The layers nearest to these depths, each once.

    Args:
        depths: shares from 0, the first layer, to 1, the last; n_layers: of the model.

    Example:
        >>> layers_at([0.0, 0.5, 0.75, 1.0], 30), layers_at([0.0, 0.5, 0.75, 1.0], 3)
        ((0, 15, 22, 29), (0, 1, 2))
    """
    return tuple(dict.fromkeys(int(depth * (n_layers - 1) + 0.5) for depth in depths))
