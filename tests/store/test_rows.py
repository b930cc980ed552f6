"""Groups that grow, row by row, by one process or several, and whatever kills one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.store import rows as place
from selfrep.store.run_directory import RunDirectory
from selfrep.store.shard import Shard

from .conftest import N_LAYERS, N_ROWS, Axis, filled, template

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
    other, sound = RunDirectory(run.path), place.changing

    @contextmanager
    def late(folder: object) -> Iterator[None]:
        monkeypatch.setattr(place, "changing", sound)
        other.prepare("effects/z", template())
        other.write_rows("effects/z", [0], filled("pair", [0]))
        with sound(run.path):
            yield

    monkeypatch.setattr(place, "changing", late)
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
