"""Arrays lie in few files, of a size that is read at once, and texts are those that any Zarr library reads."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.store import layout
from selfrep.store.layout import CHUNK, chunks, in_order, retyped, storable


@pytest.mark.parametrize("shape", [(3,), (10, 1000, 3000), (1, 1, 5_000_001), (4, 0)])
def test_a_chunk_is_all_of_an_array_or_more_than_a_fourth_of_what_it_may_be(shape: tuple[int, ...]) -> None:
    values = xr.DataArray(np.broadcast_to(np.float32(0), shape), dims=[f"d{i}" for i in range(len(shape))])
    found = chunks(xr.Dataset({"x": values}))
    if values.size == 0:
        assert found == {}
    elif values.nbytes <= CHUNK:
        assert found == {"x": shape}
    else:
        assert CHUNK / 4 < 4 * np.prod(found["x"]) <= CHUNK
        assert all(0 < c <= size for c, size in zip(found["x"], shape, strict=True))


def test_a_single_number_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK", 1)
    assert chunks(xr.Dataset({"x": ("d", np.zeros(3))})) == {"x": (1,)}


def test_texts_are_of_variable_length_in_the_store_and_numpys_in_memory() -> None:
    data = xr.Dataset({"b": ("pair", np.array(["naïve", ""])), "a": ("pair", [1, 2])}, {"who": ("pair", ["x", "yy"])})
    stored = storable(data)
    assert isinstance(stored.b.dtype, np.dtypes.StringDType)
    assert isinstance(stored.who.dtype, np.dtypes.StringDType)
    assert stored.a.dtype == data.a.dtype
    back = in_order(retyped(stored, np.dtype(str)))
    xr.testing.assert_identical(back, data)
    assert back.b.dtype.kind == "U"
    assert list(back.data_vars) == ["a", "b"] != list(data.data_vars)
