"""The groups of a store stay whole: whatever kills the writer, whoever reads them, and when the disk is full."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import numpy as np
import pytest
import xarray as xr
import zarr

from selfrep.errors import SelfrepError
from selfrep.store import groups
from selfrep.store.run_directory import RunDirectory

from .conftest import N_LAYERS, filled, template

# ---- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_texts_survive_whatever_their_order_in_memory(run: RunDirectory, order: Literal["C", "F"]) -> None:
    texts = np.array([["a", "b", ""], ["d", "", "f"]], order=order)
    run.write("group", xr.Dataset({"token": (("pair", "position"), texts)}))
    assert run.read("group").token.values.tolist() == [["a", "b", ""], ["d", "", "f"]]


def test_variables_come_by_name_in_whatever_order_the_store_lists_them(run: RunDirectory) -> None:
    made = template()
    run.write("group", made)
    back = run.read("group")
    assert list(back.data_vars) == sorted(made.data_vars) != list(made.data_vars)
    assert list(back.coords) == sorted(made.coords) != list(made.coords)
    xr.testing.assert_identical(back, made)


def test_a_group_comes_back_as_it_was(run: RunDirectory) -> None:
    dataset = template().assign(
        gate=("pair", [True, False] * 3), patched=template().patched.where(template().layer > 0), nothing=("none", [])
    )
    run.write("effects/resid_pre", dataset)
    back = run.read("effects/resid_pre")
    xr.testing.assert_identical(back, dataset)
    assert back.source.dtype.kind == "U"
    assert run.groups() == ("effects/resid_pre",)


def test_a_stranger_reads_it_with_plain_xarray_and_no_warning(run: RunDirectory) -> None:
    run.write("items", template())
    run.prepare("effects/resid_pre", template())
    run.write_rows("effects/resid_pre", [2], filled("pair", [2]))
    run.annotate("effects/resid_pre", lambda known: {"selfcheck": '{"law": 0.0}'})
    for group in ("items", "effects/resid_pre"):
        with xr.open_zarr(run.store, group=group) as stored:
            assert stored.source.values.tolist() == template().source.values.tolist()
            assert stored.item_name.values.tolist() == ["who_are_you"]
            assert stored.sizes["layer"] == N_LAYERS
            assert stored.attrs["site"] == "resid_pre"
    with xr.open_zarr(run.store, group="effects/resid_pre") as stored:
        assert stored.attrs["selfcheck"] == '{"law": 0.0}'
        assert stored.patched.values[2].tolist() == [3.0] * N_LAYERS
    arrays = dict(zarr.open_group(run.store, path="items", mode="r").arrays())
    assert arrays["patched"].metadata.dimension_names == ("pair", "layer")
    assert "object" not in {str(array.dtype) for array in arrays.values()}


def test_writing_a_group_again_replaces_all_of_it(run: RunDirectory) -> None:
    run.write("items", template())
    run.write("items", template(rows=2).drop_vars("ids"))
    assert run.read("items").sizes["pair"] == 2
    assert "ids" not in run.read("items")


def test_what_is_large_stays_on_disk_and_is_read_when_it_is_asked_for(run: RunDirectory) -> None:
    x = np.arange(60_000.0).reshape(300, 200)
    run.write("items", template().assign(large=(("row", "column"), x)))
    back = run.read("items", most=1000.0)
    assert not isinstance(back.large.variable._data, np.ndarray)
    assert isinstance(back.patched.variable._data, np.ndarray), "the control: what is small is there"
    np.testing.assert_array_equal(back.large[[3, 200], 5:7], x[[3, 200], 5:7])
    xr.testing.assert_identical(back.load(), run.read("items"))


@pytest.mark.parametrize("room", [1, 400, 10**6])
def test_a_group_grows_part_by_part_and_is_there_once_all_parts_are(
    run: RunDirectory, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "CHUNK", room)
    whole = template(rows=4).assign(patched=template(rows=4).patched + np.arange(3))
    with run.growing("whole", "layer") as append:
        for i in range(N_LAYERS):
            append(whole.isel(layer=[i]).assign_attrs(so_far=i))
            assert not run.has("whole")
    xr.testing.assert_identical(run.read("whole"), whole.assign_attrs(so_far=N_LAYERS - 1))
    with suppress(KeyboardInterrupt), run.growing("whole", "layer") as append:
        append(whole.isel(layer=[0]))
        raise KeyboardInterrupt
    assert run.read("whole").identical(whole.assign_attrs(so_far=N_LAYERS - 1)), "half of another replaces nothing"
    assert not list(run.path.glob(".partial*"))
    with run.growing("whole", "layer") as append:
        append(whole.isel(layer=[2]))
    assert run.read("whole").layer.values.tolist() == [8], "a whole one does"


def test_attributes_are_had_without_an_array(run: RunDirectory) -> None:
    run.write("items", template())
    known = run.read("items").attrs
    for chunks in (run.store / "items").glob("*/c"):
        shutil.rmtree(chunks) if chunks.is_dir() else chunks.unlink()
    assert run.attributes("items") == known == template().attrs
    with pytest.raises(SelfrepError, match="has lost a part"):
        run.read("items")


def test_a_group_that_is_not_there_is_named_beside_those_that_are(run: RunDirectory) -> None:
    run.write("items", template())
    for ask in (
        run.read,
        run.attributes,
        run.pending,
        lambda name: run.annotate(name, lambda known: {}),
        lambda name: run.write_rows(name, [0], template()),
    ):
        with pytest.raises(SelfrepError, match=r"no group 'transfer'.*items"):
            ask("transfer")
    assert not run.has("transfer")


# ---- a full disk ---------------------------------------------------------------------------------------------------


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: the nearest thing to a full disk that needs no disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_what_is_there_readable(run: RunDirectory) -> None:
    rows, noise = 3, np.random.default_rng(0).standard_normal((3, 65536)).astype(np.float32)
    run.prepare("group", xr.Dataset({"a": (("pair", "x"), np.zeros_like(noise))}))
    whole = xr.Dataset({"a": (("pair", "x"), noise)})
    run.write_rows("group", [0], whole.isel(pair=[0]))
    with files_up_to(100_000), pytest.raises(SelfrepError, match=r"disk is full.*run the same command again"):
        run.write_rows("group", [1], whole.isel(pair=[1]))
    assert run.pending("group").tolist() == [1, 2]
    assert np.array_equal(run.read("group").a.values[0], noise[0])
    with files_up_to(100_000), pytest.raises(SelfrepError, match="disk is full"):
        run.write("other", whole)
    assert run.groups() == ("group",)
    assert not list(run.path.glob(".partial*"))
    run.write_rows("group", [1, 2], whole.isel(pair=[1, 2]))  # space was made
    assert np.array_equal(run.read("group").a.values, noise)
    assert len(run.pending("group")) == rows - rows
