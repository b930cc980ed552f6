"""Activations come layer by layer with their axes in one order, from memory as from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from selfrep.stats.cells import by_layer, cell_shape, place_axis, width
from selfrep.store.groups import Groups

DIMS = ("prompt", "site", "layer", "segment", "d_model")


@pytest.fixture
def acts() -> xr.Dataset:
    return xr.Dataset({"activations": (DIMS, np.random.default_rng(0).normal(size=(5, 2, 3, 4, 6)))})


def same(acts: xr.Dataset, whole: xr.Dataset) -> bool:
    x = whole.activations.to_numpy()
    return all(np.array_equal(here, x[:, *at]) for at, here in by_layer(acts))


def test_every_layer_of_every_site_comes_once_whatever_the_order_of_the_axes(acts: xr.Dataset) -> None:
    assert [at for at, _ in by_layer(acts)] == list(np.ndindex(2, 3))
    assert same(acts, acts)
    assert same(acts.transpose("layer", "d_model", "site", "segment", "prompt"), acts)
    assert not same(acts.isel(layer=[1, 0, 2]), acts), "the control: in another order"
    assert (cell_shape(acts), place_axis(acts), width(acts)) == ((2, 3, 4), "segment", 6)
    assert place_axis(acts.rename(segment="position")) == "position"


def test_what_lies_on_disk_is_read_a_layer_at_a_time(
    acts: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Groups(tmp_path)
    store.create()
    store.write("acts", acts)
    lying = store.read("acts", most=0.0).isel(prompt=[0, 3])
    sizes: list[int] = []
    sound = xr.DataArray.compute

    def compute(array: xr.DataArray) -> xr.DataArray:
        loaded = sound(array)
        sizes.append(loaded.size)
        assert not isinstance(array.variable._data, np.ndarray), "it lay on disk until now"
        return loaded

    monkeypatch.setattr(xr.DataArray, "compute", compute)
    assert same(lying, acts.isel(prompt=[0, 3]))
    assert sizes == [2 * 4 * 6] * 6
