"""Which layer is reported: fixed beforehand, so that no number is picked because it came out large."""

from __future__ import annotations

import numpy as np

DEPTH = 0.75
"""The layer that is reported, as a share of the depth."""


def reported_layer(layers: np.ndarray) -> int:
    """The layer nearest to three quarters of the depth, of those that were computed."""
    return int(layers[np.abs(layers - DEPTH * layers.max()).argmin()])
