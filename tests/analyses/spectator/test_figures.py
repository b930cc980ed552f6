"""A point a persona, at its foresight and its bleed."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.analyses.spectator.planted import ITEMS, people, scores

from selfrep.analyses.spectator.estimate import spectator
from selfrep.analyses.spectator.figures import spectator_plane


@pytest.fixture(scope="module")
def plane() -> xr.Dataset:
    shift = np.random.default_rng(1).normal(size=(8, 6)) + 2.0
    shift[2] = 0.0
    planted = scores(people(8), shift, foresight=0.7, bleed=0.2)
    return spectator(planted, list(ITEMS.names()), ["true"], n_bootstrap=50, n_permutations=50)


def test_points_stand_at_their_shares(plane: xr.Dataset) -> None:
    fig = spectator_plane(plane)
    points = fig.data[0]
    shown = plane.drop_sel(persona="p2")
    np.testing.assert_allclose(points.x, shown.bleed)
    np.testing.assert_allclose(points.y, shown.foresight)
    np.testing.assert_allclose(np.array(points.y) + np.array(points.error_y.array), shown.foresight_ci_high)
    np.testing.assert_allclose(np.array(points.x) - np.array(points.error_x.arrayminus), shown.bleed_ci_low)
    assert "7 personas; 1 that move too little are left out" in fig.layout.title.text
    names = {str(note.text) for note in fig.layout.annotations}
    assert {"p0", "p7"} <= names
    assert "p2" not in names


def test_without_a_persona_to_place_the_reasons_stand_there(plane: xr.Dataset) -> None:
    fig = spectator_plane(plane.assign(bleed=plane.bleed * np.nan))
    assert "not identified" in " ".join(str(note.text) for note in fig.layout.annotations).lower()
