"""What is kept of activations gives back every inner product, and so every number that is made of those."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.analyses.separation.estimate import separation
from selfrep.stats.cells import width
from selfrep.stats.geometry import noise_normalised, standardised
from selfrep.stats.isometry import compact, expanded

Array = np.ndarray
NAMES = synthetic.names((6, 6))


def world(d: int = 300, seed: int = 0) -> xr.Dataset:
    """Twelve personas, the second side apart, in a stream that is long beside what differs; a dimension is massive."""
    rng = np.random.default_rng(seed)
    side = (np.arange(12) >= 6)[:, None, None, None, None]
    own = rng.normal(size=(12, 1, 2, 2, d)) + side * rng.normal(size=d)
    common = 20 * rng.normal(size=d)
    common[3] = 3000.0
    conditions = {name: common + own + rng.normal(size=(12, 3, 2, 2, d)) for name in ("you", "user")}
    return synthetic.acts(conditions, NAMES)


def products(acts: xr.Dataset, layer: int = 1, place: int = 0) -> Array:
    x = acts.activations.to_numpy()[:, 0, layer, place].astype(float)
    x = x[np.isfinite(x).all(axis=1)]
    return x @ x.T


@pytest.mark.parametrize("d", [300, 20])
def test_inner_products_come_back_and_half_of_what_is_kept_is_0(d: int) -> None:
    acts = standardised(world(d))
    kept = compact(acts)
    n = acts.sizes["prompt"]
    assert kept.factor.dims == ("prompt", "site", "layer", "position", "basis")
    assert kept.sizes["basis"] == min(n, d)
    assert not np.triu(kept.factor[:, 0, 0, 0], 1).any()
    again = expanded(kept)
    np.testing.assert_allclose(products(again), products(acts), rtol=1e-6, atol=1e-5 * d)
    assert again.activations.dims == acts.activations.dims
    assert (again.sizes["d_model"], width(again)) == (min(n, d), d)
    assert again.attrs == acts.attrs | {"d_model": d}
    twice = expanded(compact(again))
    assert width(twice) == d, "what is kept once more is still of as wide a model"
    np.testing.assert_allclose(products(twice), products(acts), rtol=1e-6, atol=1e-5 * d)
    for name in set(acts.variables) - {"activations"}:
        assert again[name].equals(acts[name]), name
    damaged = expanded(kept.assign(factor=kept.factor.astype(np.float16)))
    assert not np.allclose(products(damaged), products(acts), rtol=1e-6, atol=1e-5 * d), "the control: fewer digits"


def test_small_differences_of_long_vectors_keep_their_digits() -> None:
    acts = world()
    x, y = (one.activations.to_numpy()[:, 0, 0, 0].astype(float) for one in (acts, expanded(compact(acts))))
    unit = np.arange(len(x)) // 3
    far, again = (np.diff(noise_normalised(rows, unit, d=300)[:2], axis=0) for rows in (x, y))
    assert np.linalg.norm(again) == pytest.approx(np.linalg.norm(far), rel=1e-4)
    table = (x @ x.T).astype(np.float32).astype(float)
    size, turn = np.linalg.eigh(table)
    rounded = turn * np.sqrt(np.maximum(size, 0))
    lost = np.linalg.norm(np.diff(noise_normalised(rounded, unit, d=300)[:2], axis=0))
    assert lost != pytest.approx(np.linalg.norm(far), rel=1e-4), "the control: the rounded table of products"


def test_prompts_without_a_place_stay_without_it() -> None:
    acts = world(40)
    holes = acts.activations.to_numpy().copy()
    holes[5, :, 0, 0] = np.nan
    holes[:, :, 1, 1] = np.nan
    acts = acts.assign(activations=(acts.activations.dims, holes))
    again = expanded(compact(acts))
    lacking = np.isnan(holes).any(axis=-1)
    np.testing.assert_array_equal(np.isnan(again.activations).any("d_model"), lacking)
    np.testing.assert_array_equal(np.isnan(again.activations).all("d_model"), lacking)
    np.testing.assert_allclose(products(again, 0, 0), products(acts, 0, 0), rtol=1e-6)


def test_estimates_are_the_same_numbers_in_either_basis() -> None:
    acts = world()
    scaled = standardised(acts)
    one, two = (separation(x, n_bootstrap=50) for x in (scaled, expanded(compact(scaled))))
    xr.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)
    assert bool((one.p < 0.05).all()), "the control: there is something to be the same"
    one, two = (default_axis(x, NAMES[:1], n_bootstrap=20, n_axes=200) for x in (acts, expanded(compact(acts))))
    for name in ("gap", "null", "own_gap", "other_gaps", "cosine", "explained"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, err_msg=name)
    assert float(one["null"].min()) > 0
    narrow = default_axis(expanded(compact(acts)).assign_attrs(d_model=72), NAMES[:1], n_bootstrap=20, n_axes=200)
    assert not np.allclose(narrow["gap"], one["gap"], rtol=1e-4), "the control: of a model as narrow as the basis"
