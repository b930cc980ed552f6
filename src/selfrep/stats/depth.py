"""Which layer is reported: fixed beforehand, so that no number is picked because it came out large."""

from __future__ import annotations

import numpy as np

DEPTH = 0.75
"""The layer that is reported, as a share of the depth."""


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
