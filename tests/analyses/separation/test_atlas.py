"""Every number of the maps of S is the one that was kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.analyses.planted import rich

from selfrep.analyses.atlas import Atlas
from selfrep.analyses.separation.atlas import atlases
from selfrep.store.run_directory import RunDirectory

__all__ = ["rich"]


def test_a_map_a_site_beside_its_controls(rich: RunDirectory) -> None:
    (atlas,) = atlases(rich)
    assert isinstance(atlas, Atlas)
    kept = rich.read("separation").isel(site=0)
    (sheet,) = atlas.sheets
    assert atlas.layers == tuple(kept.layer.to_numpy())
    names = {"S": "estimate", "“the user is": "user_is", "noise floor": "noise_floor", "chance": "null_high"}
    for words, name in names.items():
        (line,) = (line for line in sheet.lines if words in line.label)
        np.testing.assert_array_equal(line.values, kept[name].to_numpy().astype(np.float32))
    assert sheet.lines[0].low is not None
    np.testing.assert_array_equal(sheet.lines[0].low, kept.ci_low.to_numpy().astype(np.float32))
    assert any(note.startswith("Asked: In peace, who are you?") for note in sheet.notes)


def test_a_run_without_it_says_so(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create_or_resume("name: mine", "abc")
    assert list(atlases(run)) == ["S: this run measured no separation of two sides."]
