"""What is kept of captured activations: sizes of all of them, and each layer's own plane."""

from __future__ import annotations

import numpy as np
import synthetic

from selfrep.analyses.separation.plane import persona_map as drawn
from selfrep.analyses.separation.summary import activations_summary, at_reported_layer
from selfrep.stats.geometry import persona_map


def test_sizes_are_those_of_each_activation_and_planes_those_of_each_layer() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 5.0])[None, None, :, None, None]
    values = {v: scale * rng.normal(size=(6, 2, 2, 3, 12)) for v in ("you", "user")}
    acts = synthetic.acts(values, synthetic.names((3, 3))).assign_attrs(model="tiny")
    kept = activations_summary(acts)
    x = acts.activations.to_numpy().astype(float)
    np.testing.assert_allclose(kept.rms.transpose(*acts.activations.dims[:-1]), np.sqrt((x**2).mean(-1)), rtol=1e-5)
    for i, layer in enumerate(acts.layer.values):
        plane = persona_map(acts, site="resid_post", layer=int(layer), where=-1)
        np.testing.assert_allclose(kept.coordinates.sel(layer=layer), plane.coordinates)
        np.testing.assert_allclose(kept.explained[i], plane.explained)
    assert not np.allclose(kept.coordinates[:, 0], kept.coordinates[:, 1]), "the control: layers differ"
    assert (kept.attrs["plane_site"], kept.attrs["plane_position"], kept.attrs["model"]) == ("resid_post", -1, "tiny")


def test_a_summary_is_drawn_at_the_layer_that_findings_are_read_at() -> None:
    rng = np.random.default_rng(1)
    values = {v: rng.normal(size=(6, 2, 5, 3, 12)) for v in ("you", "user")}
    kept = activations_summary(synthetic.acts(values, synthetic.names((3, 3))))
    points, other = at_reported_layer(kept), at_reported_layer(kept.isel(layer=slice(0, 2)))
    assert int(points.attrs["layer"]) == 3, "three quarters of five layers"
    np.testing.assert_array_equal(points.coordinates, kept.coordinates.sel(layer=3))
    assert drawn(kept).to_json() == drawn(points).to_json()
    assert drawn(kept).to_json() != drawn(other).to_json(), "the control: another layer is another figure"
