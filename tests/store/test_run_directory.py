"""The run directory stays whole: whichever study comes along, and wherever it lies."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from tests.forbidden import forbidden

from selfrep.errors import SelfrepError
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

from .conftest import STUDY, template


def test_what_a_killed_process_left_half_written_is_not_seen_and_is_cleared(run: RunDirectory) -> None:
    half = run.path / ".partial-abc" / "new"
    half.mkdir(parents=True)
    (half / "zarr.json").write_text("{")
    assert run.groups() == ()
    assert run.create_or_resume(STUDY, "abc123")
    assert not half.exists()


# ---- the study ------------------------------------------------------------------------------------------------------


def test_the_same_study_resumes(run: RunDirectory) -> None:
    run.write("items", template())
    assert run.create_or_resume(STUDY, "abc123") is True
    assert run.has("items")
    assert (run.study_yaml, run.study_hash) == (STUDY, "abc123")


def test_another_study_is_refused_with_the_difference(run: RunDirectory) -> None:
    run.write("items", template())
    with pytest.raises(SelfrepError, match="another study") as caught:
        run.create_or_resume(STUDY.replace("seed: 0", "seed: 7"), "def456")
    assert "-seed: 0\n+seed: 7" in str(caught.value)
    assert "--out" in str(caught.value)
    assert run.study_yaml == STUDY
    assert run.has("items")


def test_a_directory_in_which_nothing_was_done_is_anybodys(run: RunDirectory) -> None:
    run.provenance(answers="of the first study")
    (run.path / "notes.txt").write_text("mine")
    assert not run.resumes("name: another", "def456")
    assert run.study_yaml == STUDY, "asking changes nothing"
    assert run.create_or_resume("name: another", "def456") is False
    assert (run.study_yaml, run.provenance()) == ("name: another", {}), "nothing of the first study is left"
    assert (run.path / "notes.txt").read_text() == "mine"


def test_a_study_that_was_edited_afterwards_is_refused(run: RunDirectory) -> None:
    run.write("items", template())
    (run.path / "study.yaml").write_text(STUDY)  # its first line, with the hash, is gone
    assert run.study_hash == ""
    with pytest.raises(SelfrepError, match="edited after its run began"):
        run.create_or_resume(STUDY, "abc123")


def test_results_of_unknown_origin_are_not_adopted(run: RunDirectory) -> None:
    (run.path / "study.yaml").unlink()
    with pytest.raises(SelfrepError, match=r"holds results\.zarr but no study\.yaml"):
        run.create_or_resume(STUDY, "abc123")


def test_only_a_run_opens(tmp_path: Path, run: RunDirectory) -> None:
    assert RunDirectory.open(str(run.path)) == run
    with pytest.raises(SelfrepError, match="holds no run"):
        RunDirectory.open(tmp_path / "nowhere")


# ---- disks ----------------------------------------------------------------------------------------------------------


def test_a_place_that_is_not_writable_is_refused_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with forbidden(tmp_path), pytest.raises(SelfrepError, match=r"out is not writable.*--out"):
        RunDirectory(out).create_or_resume(STUDY, "abc123")
    assert not out.exists()
    assert not RunDirectory(out).create_or_resume(STUDY, "abc123"), "the control: it could be made"


def test_a_resumed_run_learns_at_once_that_it_may_no_longer_write(run: RunDirectory) -> None:
    whole = xr.Dataset({"a": (("pair", "x"), np.ones((2, 3)))})
    run.write("group", whole)
    run.prepare("growing", whole)
    with forbidden(run.path):
        for write in (
            lambda: run.create_or_resume(STUDY, "abc123"),
            lambda: run.write("other", whole),
            lambda: run.write("group", whole * 2),
            lambda: run.write_rows("growing", [0], whole.isel(pair=[0])),
            lambda: run.write_findings([]),
            lambda: run.provenance(seed=3),
        ):
            with pytest.raises(SelfrepError, match="not writable"):
                write()
        assert run.study_yaml == STUDY
        xr.testing.assert_equal(run.read("group"), whole)
    assert run.groups() == ("group", "growing")
    assert run.pending("growing").tolist() == [0, 1]
    assert run.create_or_resume(STUDY, "abc123"), "the control: it may again"
    run.write_rows("growing", [0, 1], whole)
    xr.testing.assert_equal(run.read("growing").drop_vars("done"), whole)


def test_a_place_that_may_not_be_looked_into_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat, out = os.stat, tmp_path / "secret" / "out"

    def refuse(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        if str(path).startswith(str(out.parent)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", refuse)
    with forbidden(out.parent):
        with pytest.raises(SelfrepError, match="not writable"):
            RunDirectory(out).create_or_resume(STUDY, "abc123")
        with pytest.raises(SelfrepError, match="may not be read"):
            RunDirectory.open(out)


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SelfrepError, match="cannot be an output directory"):
        RunDirectory(tmp_path / "out").create_or_resume(STUDY, "abc123")


# ---- records --------------------------------------------------------------------------------------------------------


def test_provenance_adds_up(run: RunDirectory) -> None:
    assert run.provenance() == {}
    run.provenance(model="tiny", seconds=1.0, path=Path("x"), layers=np.arange(2))
    assert run.provenance(seconds=2.5) == {"model": "tiny", "seconds": 2.5, "path": "x", "layers": [0, 1]}
    assert RunDirectory.open(run.path).provenance()["model"] == "tiny"


def test_findings_come_back_in_order(run: RunDirectory) -> None:
    assert run.findings() == ()
    found = [
        Finding("The sides differ by", 5.8, (4.9, 6.8), "control", "p < .01", unit="nats"),
        Finding("Transfer", None, None, "", "", identified=False, reason="too small"),
    ]
    run.write_findings(found)
    assert list(run.findings()) == found


def test_what_a_killed_process_left_half_written_goes(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "out")
    run.create_or_resume("name: demo", "abc123")
    run.figures.mkdir()
    halves = [run.path / ".provenance.json.ab12.partial", run.figures / ".map.html.cd34.partial"]
    kept = run.figures / "map.html"
    for file in (*halves, kept):
        file.touch()
    run.create_or_resume("name: demo", "abc123")
    assert [file.exists() for file in (*halves, kept)] == [False, False, True]
