"""A run is opened and read, and a folder that is none is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.store.findings import Finding
from selfrep.store.run import Run, open_run
from selfrep.store.run_directory import RunDirectory

FINDING = Finding("it is bound", 0.5, (0.4, 0.6), "the control", "a test")


def patched(site: str, axis: str = "position") -> xr.Dataset:
    labels = [-2, -1] if axis == "position" else ["question", "last"]
    values = np.arange(6.0).reshape(3, 1, 2)
    return xr.Dataset({"patched": (("pair", "layer", axis), values)}, {"layer": [0], axis: labels}, {"site": site})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    directory = RunDirectory(tmp_path / "out")
    directory.create_or_resume("name: mine\nseed: 3\n", "abc")
    for group, effects in {
        "effects/resid_pre": patched("resid_pre"),
        "effects/attn_out": patched("attn_out"),
        "segments/resid_pre": patched("resid_pre", "segment"),
    }.items():
        directory.prepare(group, effects)
        directory.write_rows(group, [0, 1, 2], effects)
    directory.prepare("behaviour", xr.Dataset({"log_odds": ("prompt", [1.0])}), along="prompt")
    directory.write("binding", xr.Dataset({"B": 0.5}))
    directory.write("transfer/effects/resid_pre", xr.Dataset({"estimate": 0.25}))
    directory.write("activations_summary", xr.Dataset({"rms": 2.0}))
    directory.provenance(model="tiny")
    directory.write_findings([FINDING])
    return directory.path


def test_a_run_says_what_came_out(folder: Path) -> None:
    run = open_run(str(folder))
    assert run.findings == (FINDING,)
    assert run.study == {"name": "mine", "seed": 3}
    assert run.provenance["model"] == "tiny"
    np.testing.assert_array_equal(run.effects("resid_pre").patched, patched("resid_pre").patched)
    assert run.effects("attn_out").attrs["site"] == "attn_out"
    assert run.segments("resid_pre").segment.values.tolist() == ["question", "last"]
    assert run.segments().attrs["site"] == "resid_pre"
    assert run.activations_summary.rms == 2
    assert run.estimate("binding").B == 0.5


def test_estimates_are_read_when_they_are_looked_at(folder: Path) -> None:
    estimates = open_run(folder).estimates
    assert list(estimates) == ["binding", "transfer/effects/resid_pre"]
    RunDirectory(folder).write("binding", xr.Dataset({"B": 0.75}))
    assert estimates["binding"].B == 0.75
    assert estimates["transfer"].estimate == 0.25
    assert "behaviour" not in estimates
    assert estimates.get("binding") is not None


def test_the_tree_holds_every_group(folder: Path) -> None:
    run = open_run(folder)
    groups = {node.path.strip("/") for node in run.tree.subtree if node.has_data}
    assert groups == set(run.directory.groups())
    xr.testing.assert_identical(run.tree["effects/resid_pre"].to_dataset(), run.effects("resid_pre"))


def test_what_is_not_there_is_said_with_what_is(folder: Path, tmp_path: Path) -> None:
    run = open_run(folder)
    with pytest.raises(SelfrepError, match=r"nothing named so.*'bindin' \(did you mean 'binding'\?\)"):
        run.estimate("bindin")
    with pytest.raises(SelfrepError, match=r"'effects/z'.*There are: effects/attn_out, effects/resid_pre"):
        run.effects("z")
    with pytest.raises(SelfrepError, match="2 named so: effects/attn_out, effects/resid_pre"):
        run.effects()
    bare = RunDirectory(tmp_path / "bare")
    bare.create_or_resume("name: bare\n", "abc")
    with pytest.raises(SelfrepError, match="holds no effects"):
        open_run(bare.path).effects("resid_pre")
    with pytest.raises(SelfrepError, match="holds no summary of activations"):
        open_run(bare.path).activations_summary  # noqa: B018


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SelfrepError, match=r"holds no run: there is no study.yaml.*Give the folder"):
            open_run(place)


def test_a_run_is_one_line_and_a_small_table(folder: Path) -> None:
    run = open_run(folder)
    assert isinstance(run, Run)
    assert len(repr(run)) < 120
    assert "study='mine'" in repr(run) or len(str(folder)) > 60
    assert "mine" in run._repr_html_()
    assert repr(run.estimates).startswith("Groups(n=2, ")
