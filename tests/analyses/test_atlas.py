"""The nouns of the page to explore: numbers as they are kept, names where the study tells none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from selfrep.analyses.atlas import LAYER, PLACE, Line, Voices, at_cell, cells, frame, tokens_of
from selfrep.errors import SelfrepError
from selfrep.store.run_directory import RunDirectory

STUDY = {
    "name": "mine",
    "personas": {
        "define": {
            "clerk": {"descriptions": ["a clerk", "a man of files"], "side": "human", "label": "the clerk"},
            "engine": {"descriptions": ["an engine", "a machine"], "side": "ai"},
        }
    },
    "battery": {
        "define": {
            "who": {
                "question": "Who are you?",
                "prefill": "I am a",
                "answers": {"ai": [" machine"], "human": [" man"]},
                "perspective": "in_character",
            }
        }
    },
}


def voices(study: object, folder: Path) -> Voices:
    run = RunDirectory(folder)
    run.create_or_resume(yaml.safe_dump(study), "abc")
    return Voices.of(run)


def test_a_line_has_the_interval_and_the_p_of_its_own_variable_alone() -> None:
    grid = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("layer", "position"))
    data = xr.Dataset({"kind_estimate": grid, "kind_ci_low": grid - 1, "kind_ci_high": grid + 1, "p": grid / 10})
    line = Line.of(data.assign(kind_p=("layer", [0.1, 0.2])), "kind_estimate", "mean")
    assert line.low is not None
    assert np.array_equal(line.low, grid.to_numpy() - 1)
    assert line.p is None, "a p that is not of cells belongs to something else"
    with pytest.raises(SelfrepError, match="no 'estimate' to explore"):
        Line.of(data, "estimate", "T")


def test_cells_stand_layer_by_layer_however_they_are_kept() -> None:
    grid = xr.DataArray(np.arange(6.0).reshape(2, 3), dims=("layer", "position"))
    assert np.array_equal(cells(grid.T), cells(grid))
    assert cells(grid).dtype == np.float32


def test_a_frame_names_what_prompts_agree_on() -> None:
    data = xr.Dataset(
        coords={"layer": [0, 5], "position": [-2, -1], "segment": ("position", ["mixed", "prefill"])}
        | {"token": ("position", ["", " a"])}
    )
    assert frame(data) == {
        "layers": (0, 5), "axis": "position", "places": ("-2", "-1"), "segments": ("", "prefill"),
    }  # fmt: skip
    assert tokens_of(data) == ("", " a")
    assert tokens_of(xr.Dataset(coords={"layer": [0], "segment": ["system"]})) == ()
    assert at_cell(data, site="x\x01") == f".sel(site='x\\x01', layer={LAYER}, position={PLACE})", "a name is no mark"


def test_words_are_those_of_the_study(tmp_path: Path) -> None:
    told = voices(STUDY, tmp_path / "a")
    assert (told.label("clerk"), told.label("clerk (user)")) == ("the clerk", "the clerk (user)")
    assert told.label("unprompted") == "no persona"
    (spoken,) = told.spoken("source", "clerk (user)", "who", [1])
    assert spoken.who == "source: the clerk (user)"
    assert dict(spoken.texts)["user"] == "Who are you?"
    assert "a man of files" in dict(spoken.texts)["system"]
    assert "The user is" in dict(spoken.texts)["system"] or "the user is" in dict(spoken.texts)["system"]
    (both,) = told.spoken("", "clerk", "who", range(100))
    assert [role for role, _ in both.texts] == ["system 1", "system 2", "user", "answer begins"]


@pytest.mark.parametrize("study", [None, ["a list"], {"personas": {"define": {"clerk": {"side": "human"}}}}])
def test_a_study_that_tells_nothing_leaves_names(study: object, tmp_path: Path) -> None:
    told = voices(study, tmp_path / "a")
    assert (told.label("clerk"), told.question("who")) == ("clerk", "who")
    assert told.spoken("source", "clerk", "who", [0]) == ()
