"""Depths are shares of any model, and the layer that is reported is fixed by its depth alone."""

from __future__ import annotations

import numpy as np
import pytest

from selfrep.stats.depth import layers_at, reported_layer


@pytest.mark.parametrize(
    ("layers", "reported"), [(range(30), 22), (range(5), 3), ([0, 1, 3, 4], 3), ([0, 8], 8), ([2, 3, 8], 8), ([4], 4)]
)
def test_it_is_the_one_nearest_to_three_quarters_of_those_that_were_computed(layers: object, reported: int) -> None:
    assert reported_layer(np.array(layers)) == reported


@pytest.mark.parametrize("n_layers", [1, 2, 3, 6, 12, 30, 80])
def test_depths_are_the_nearest_layers_each_once_from_the_first_to_the_last(n_layers: int) -> None:
    depths = np.linspace(0, 1, 41).tolist()
    layers = layers_at(depths, n_layers)
    assert layers[0] == 0
    assert layers[-1] == n_layers - 1
    assert list(layers) == sorted(set(layers))
    for depth in depths:
        (layer,) = layers_at([depth], n_layers)
        off = np.abs(np.arange(n_layers) / max(n_layers - 1, 1) - depth)
        assert off[layer] == pytest.approx(off.min())
    assert layers_at([1.0, 0.5], 31) == (30, 15), "in the order in which they are given"
