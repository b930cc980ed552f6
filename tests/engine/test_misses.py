"""What a self-check left: the worst of each law, and there and back through attributes."""

from __future__ import annotations

import xarray as xr

from selfrep.engine.misses import from_attrs, to_attrs, worst


def test_the_worst_of_each_law_is_kept() -> None:
    assert worst({"a": 1.0, "b": 0.5}, {"b": 2.0}, {}) == {"a": 1.0, "b": 2.0}
    assert worst() == {}


def test_misses_come_back_from_the_attributes_of_a_dataset() -> None:
    misses = {"patching nothing leaves the target": 1.5e-6, "µ": 0.0}
    dataset = xr.Dataset(attrs={"site": "z", **to_attrs(misses)})
    assert from_attrs(dataset.attrs) == misses
    assert from_attrs({}) == from_attrs({"selfcheck": ""}) == {}
