"""The layer that is reported is fixed by the depth alone."""

from __future__ import annotations

import numpy as np
import pytest

from selfrep.stats.depth import reported_layer


@pytest.mark.parametrize(
    ("layers", "reported"), [(range(30), 22), (range(5), 3), ([0, 1, 3, 4], 3), ([0, 8], 8), ([2, 3, 8], 8), ([4], 4)]
)
def test_it_is_the_one_nearest_to_three_quarters_of_those_that_were_computed(layers: object, reported: int) -> None:
    assert reported_layer(np.array(layers)) == reported
