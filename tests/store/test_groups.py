"""The groups of a store stay whole: whatever kills the writer, whoever reads them, and when the disk is full."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
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
from selfrep.store.shard import Shard

from .conftest import N_LAYERS, N_ROWS, Axis, template


def filled(axis: Axis, rows: list[int]) -> xr.Dataset:
    """What a run brings for these rows: row i holds i + 1 everywhere."""
    part = template(axis).isel({axis: rows})
    number = xr.DataArray(np.array(rows, float) + 1, dims=axis)
    return part.assign(patched=part.patched + number.astype("f4"), target_metric=part.target_metric + number)


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


# ---- groups that grow -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 4])
@pytest.mark.parametrize("axis", ["pair", "prompt"])
def test_a_group_grows_row_by_row_in_any_order(run: RunDirectory, axis: Axis, at_once: int) -> None:
    run.prepare("group", template(axis), along=axis, at_once=at_once)
    assert run.pending("group").tolist() == list(range(N_ROWS))
    assert np.isnan(run.read("group").patched).all()
    run.write_rows("group", [4, 1], filled(axis, [4, 1]))
    assert run.pending("group").tolist() == [0, 2, 3, 5]
    run.write_rows("group", slice(2, 4), filled(axis, [2, 3]))
    run.write_rows("group", np.array([0, 5]), filled(axis, [0, 5]))
    assert run.pending("group").tolist() == []
    back = run.read("group")
    xr.testing.assert_identical(back.drop_vars("done"), filled(axis, list(range(N_ROWS))))
    assert back.done.dims == (axis,)
    files = [path for path in (run.store / "group" / "done" / "c").rglob("*") if path.is_file()]
    assert len(files) == -(-N_ROWS // at_once)


def test_what_rows_bring_beside_their_numbers_is_passed_over(run: RunDirectory) -> None:
    run.prepare("group", template())
    wider = filled("pair", [0]).drop_vars(["ids", "answer_ids", "source"])
    wider["ids"] = (("pair", "token"), [[7, 7, 7, 7]])
    wider["answer_ids"] = ("item_name", [9])
    wider["note"] = ("pair", ["text"])
    run.write_rows("group", [0], wider)
    back = run.read("group")
    assert back.patched.values[0].tolist() == [1.0] * N_LAYERS
    assert back.ids.values.tolist() == template().ids.values.tolist()
    assert "note" not in back


def test_rows_that_do_not_fit_are_refused_and_stay_pending(run: RunDirectory) -> None:
    run.prepare("group", template())
    good = filled("pair", [0, 1])
    for rows, bad, words in (
        ([0, 1], good.drop_vars("target_metric"), "bring no 'target_metric'"),
        ([0, 1], good.isel(layer=[0]), "'patched' has .*'layer': 1.*room for .*'layer': 3"),
        ([0], good, "room for .*'pair': 1"),
        ([0, 1], good.rename(layer="position"), "room for .*'layer': 3"),
    ):
        with pytest.raises(SelfrepError, match=words):
            run.write_rows("group", rows, bad)
    assert len(run.pending("group")) == N_ROWS
    run.write_rows("group", [0, 1], good.transpose("layer", ...))  # the order of the axes does not matter
    assert len(run.pending("group")) == N_ROWS - 2


def test_only_prepared_groups_grow(run: RunDirectory) -> None:
    run.write("items", template())
    assert run.pending("items").tolist() == []
    with pytest.raises(SelfrepError, match="written whole"):
        run.write_rows("items", [0], filled("pair", [0]))


def test_preparing_again_keeps_what_is_done_and_refuses_what_changed(run: RunDirectory) -> None:
    run.prepare("group", template())
    run.write_rows("group", [3], filled("pair", [3]))
    run.prepare("group", template())
    assert 3 not in run.pending("group")
    for other in (
        template(rows=5),
        template().assign_coords(layer=[0, 4, 9]),
        template().assign_coords(source=("pair", ["somebody else"] * N_ROWS)),
        template().assign(ids=template().ids + 1),
        template().drop_vars("ids"),
    ):
        with pytest.raises(SelfrepError, match="begun with other prompts, layers or positions"):
            run.prepare("group", other)
    assert run.read("group").patched.values[3].tolist() == [4.0] * N_LAYERS


# ---- kill −9 --------------------------------------------------------------------------------------------------------

WRITER = """
import os, signal, sys
import numpy as np, xarray as xr
from zarr.storage import LocalStore
import zarr
from selfrep.store.run_directory import RunDirectory

path, deadly, order = sys.argv[1], int(sys.argv[2]), sys.argv[3]
run, written, put = RunDirectory(path), 0, LocalStore.set

async def counted(self, key, value, *rest, **named):
    global written
    written += 1
    if written == deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    await put(self, key, value, *rest, **named)

LocalStore.set = counted
for row in run.pending("group"):
    if order == "done-first":  # what a careless store would do
        zarr.open_group(run.store, path="group", mode="r+")["done"][int(row)] = True
    one = np.full((1, 256, 1024), row + 1, np.float32)
    run.write_rows("group", [row], xr.Dataset({"a": (("pair", "x", "y"), one), "b": (("pair", "x", "y"), -one)}))
"""


@pytest.fixture
def growing(run: RunDirectory) -> RunDirectory:
    nothing = (("pair", "x", "y"), np.zeros((8, 256, 1024), np.float32))
    run.prepare("group", xr.Dataset({"a": nothing, "b": nothing}))
    return run


def writer(run: RunDirectory, deadly: int = 0, order: str = "data-first") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(run.path), str(deadly), order])


def falsely_done(run: RunDirectory) -> list[int]:
    """The rows that say they are done and are not."""
    group = run.read("group")
    value = np.arange(group.sizes["pair"])[:, None, None] + 1
    whole = ((group.a == value) & (group.b == -value)).all(("x", "y"))
    return np.flatnonzero(group.done & ~whole).tolist()


SLOW = pytest.mark.slow


@pytest.mark.parametrize("deadly", [pytest.param(1, marks=SLOW), 2, 3, pytest.param(5, marks=SLOW)])
def test_no_kill_leaves_a_row_that_looks_done_and_is_not(growing: RunDirectory, deadly: int) -> None:
    """Each row is three writes: killed before the first, second and third of one, and in the middle of the next."""
    assert writer(growing, deadly).wait(60) == -signal.SIGKILL
    assert falsely_done(growing) == []
    assert len(growing.pending("group")) == 8 - (deadly - 1) // 3


def test_the_check_finds_a_store_that_marks_first(growing: RunDirectory) -> None:
    """The control that must fail."""
    assert writer(growing, 2, "done-first").wait(60) == -signal.SIGKILL
    assert falsely_done(growing) == [0]


def test_a_run_killed_at_any_moment_goes_on_to_the_end(growing: RunDirectory) -> None:
    kills = 0
    while kills < 2 and len(left := growing.pending("group")) > 1:
        with writer(growing) as process:
            while process.poll() is None and len(growing.pending("group")) == len(left):
                time.sleep(0.02)
            process.kill()
        kills += 1
        assert falsely_done(growing) == []
    assert writer(growing).wait(60) == 0
    assert len(growing.pending("group")) == 0
    assert falsely_done(growing) == []


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


# ---- several writers ------------------------------------------------------------------------------------------------


def test_each_shard_fills_its_own_blocks_whoever_was_there_before(run: RunDirectory) -> None:
    run.prepare("effects/z", template(), at_once=2)
    assert [run.pending("effects/z", Shard(i, 2)).tolist() for i in range(2)] == [[0, 1, 4, 5], [2, 3]]
    run.write_rows("effects/z", [0, 1], filled("pair", [0, 1]))
    assert [run.pending("effects/z", Shard(i, 2)).tolist() for i in range(2)] == [[4, 5], [2, 3]], "by absolute blocks"
    assert [block.tolist() for block in run.blocks("effects/z", run.pending("effects/z"))] == [[2, 3], [4, 5]]
    assert run.blocks("effects/z", np.array([], dtype=np.int64)) == []


def test_a_group_that_another_process_has_prepared_in_between_keeps_its_rows(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look whether it is there before one of them makes it; the first may have written rows by then."""
    other, sound = RunDirectory(run.path), groups.changing

    @contextmanager
    def late(folder: object) -> Iterator[None]:
        monkeypatch.setattr(groups, "changing", sound)
        other.prepare("effects/z", template())
        other.write_rows("effects/z", [0], filled("pair", [0]))
        with sound(run.path):
            yield

    monkeypatch.setattr(groups, "changing", late)
    run.prepare("effects/z", template())
    assert run.pending("effects/z").tolist() == [1, 2, 3, 4, 5]
    assert run.read("effects/z").patched.values[0].tolist() == [1.0] * N_LAYERS


def test_what_another_process_has_noted_stays(run: RunDirectory) -> None:
    run.prepare("effects/z", template())
    for law in ("a", "b"):
        run.annotate("effects/z", lambda known, law=law: {"laws": [*known.get("laws", []), law]})  # type: ignore[misc]
    assert run.attributes("effects/z")["laws"] == ["a", "b"]
    run.provenance(seconds=1.0)
    RunDirectory(run.path).provenance(model="m")
    assert run.provenance() == {"seconds": 1.0, "model": "m"}


def test_a_run_has_begun_with_its_first_row_or_whole_group(run: RunDirectory) -> None:
    run.prepare("effects/z", template())
    assert not run.begun
    run.write_rows("effects/z", [3], filled("pair", [3]))
    assert run.begun
