"""A group on disk is what was written, or is refused: damaged, deleted in part, forged, or led elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.store import seal
from selfrep.store.run_directory import RunDirectory
from selfrep.store.seal import reading

GROUP = "items"
KEPT = xr.Dataset(
    {
        "estimate": (("pair", "layer"), np.array([[0.5, np.nan], [0.0, 2.0]])),
        "identified": ("pair", np.array([False, False])),
        "name": ("pair", np.array(["ä", ""])),
    },
    {"layer": [0, 3]},
    {"smallest_p": 0.125},
)


@pytest.fixture
def kept(run: RunDirectory) -> RunDirectory:
    run.write(GROUP, KEPT)
    return run


def files(run: RunDirectory) -> list[Path]:
    return sorted(file for file in (run.store / GROUP).rglob("*") if file.is_file())


def test_every_flipped_bit_of_every_file_is_noticed(kept: RunDirectory) -> None:
    rng, tried, same = np.random.default_rng(0), 0, 0
    for file in files(kept):
        whole = file.read_bytes()
        for at in rng.choice(len(whole), min(len(whole), 12), replace=False):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << rng.integers(8)
            file.write_bytes(damaged)
            with suppress(SelfrepError):  # of JSON, there are changes that mean the same
                xr.testing.assert_identical(kept.read(GROUP), KEPT[sorted(KEPT.data_vars)])
                same += 1
            tried += 1
        file.write_bytes(whole)
    assert same < tried / 5, "the control"
    xr.testing.assert_identical(kept.read(GROUP), KEPT[["estimate", "identified", "name"]])


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "longer"])
def test_every_lost_or_cut_file_is_noticed(kept: RunDirectory, damage: str) -> None:
    for file in files(kept):
        whole = file.read_bytes()
        content = {"empty": b"", "cut": whole[: len(whole) // 2], "longer": whole + b"x"}.get(damage)
        file.unlink() if content is None else file.write_bytes(content)
        with pytest.raises(SelfrepError, match=GROUP):
            kept.read(GROUP)
        file.write_bytes(whole)
    assert kept.read(GROUP).equals(KEPT), "the control"


def test_attributes_may_be_added_and_are_sealed_again(kept: RunDirectory) -> None:
    kept.annotate(GROUP, lambda known: {"proof": {"worst": 1e-6}})
    assert kept.attributes(GROUP) == {"smallest_p": 0.125, "proof": {"worst": 1e-6}}
    assert kept.read(GROUP).attrs == kept.attributes(GROUP)
    meta = kept.store / GROUP / "zarr.json"
    meta.write_text(meta.read_text().replace("0.125", "0.025"))
    for ask in (kept.attributes, kept.read):
        with pytest.raises(SelfrepError, match="not what was written"):
            ask(GROUP)


Forgery = Callable[[dict[str, object]], object]


def forged_and_read(run: RunDirectory, change: Forgery) -> None:
    """Change the metadata of an array, seal the group as if that were right, and read it."""
    file = run.store / GROUP / "estimate" / "zarr.json"
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))
    seal.seal(run.store / GROUP)
    run.read(GROUP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(shape=[10**6, 10**6]), "there are"),
        (lambda m: m.update(shape=[10**6, 2], chunk_grid=_grid(10**6, 10**6)), "there are"),
        (lambda m: m.update(data_type="object"), "not what was written"),
        (lambda m: m.update(data_type={"name": "numpy.datetime64"}), "not what was written"),
        (lambda m: m["codecs"].append({"name": "numcodecs.pickle"}), "not what was written"),
        (lambda m: m.update(data_type="int8"), "cannot be read|float"),
        (lambda m: m.update(zarr_format=2), "not what was written"),
        (lambda m: m.pop("chunk_grid"), "cannot be read"),
        (lambda m: m.update(shape=["a", 2]), "cannot be read"),
    ],
)
def test_what_is_forged_is_refused_before_memory_is_taken(kept: RunDirectory, change: Forgery, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        forged_and_read(kept, change)


def _grid(*shape: int) -> dict[str, object]:
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


def test_links_and_pipes_are_refused_and_never_opened(kept: RunDirectory, tmp_path: Path) -> None:
    chunk = kept.store / GROUP / "identified" / "c" / "0"
    whole = chunk.read_bytes()
    for make in (
        lambda: chunk.symlink_to("/etc/hostname"),
        lambda: os.mkfifo(chunk),
        lambda: chunk.symlink_to(tmp_path / "gone"),
    ):
        chunk.unlink()
        make()
        with pytest.raises(SelfrepError, match="is a link, or none"):
            kept.read(GROUP)
    chunk.unlink()
    chunk.write_bytes(whole)
    assert kept.read(GROUP).equals(KEPT)


@pytest.mark.parametrize("name", ["results.zarr", "results.zarr/items", "figures"])
def test_nothing_is_written_where_a_link_leads_out(kept: RunDirectory, name: str, tmp_path: Path) -> None:
    elsewhere, place = tmp_path / "elsewhere", kept.path / name
    elsewhere.mkdir()
    if place.exists():
        place.rename(elsewhere / "moved")
        place.symlink_to(elsewhere / "moved")
    else:
        place.symlink_to(elsewhere)
    before = sorted(file.stat().st_mtime_ns for file in elsewhere.rglob("*"))
    write: Callable[[], object] = partial(kept.write, f"{GROUP}/below", KEPT)
    if name != "results.zarr/items":
        write = partial(kept.create_or_resume, "name: mine", "abc123")
    with pytest.raises(SelfrepError, match="is a link to"):
        write()
    assert sorted(file.stat().st_mtime_ns for file in elsewhere.rglob("*")) == before


def test_groups_are_listed_and_damage_is_named(kept: RunDirectory) -> None:
    kept.write("effects/resid_pre", KEPT)
    assert kept.groups() == ("effects/resid_pre", "items")
    (kept.store / GROUP / "estimate" / "zarr.json").write_text("{")
    with pytest.raises(SelfrepError, match="items/estimate"):
        kept.groups()


def test_a_decoder_without_memory_finds_nothing_damaged(tmp_path: Path) -> None:
    with pytest.raises(MemoryError, match="Allocation error"), reading(tmp_path, "effects"):
        raise RuntimeError("Zstd decompression error: b'Allocation error : not enough memory'")
    with pytest.raises(SelfrepError, match="it is damaged"), reading(tmp_path, "effects"):
        raise RuntimeError("Zstd decompression error: b'Unknown frame descriptor'")
