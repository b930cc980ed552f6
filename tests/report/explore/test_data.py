"""What the page holds: every number as it lies in the store, each kept once, and a bound on all of them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.report.explore.made import LAYERS, POSITIONS, effects, made

from selfrep.report.explore.data import Numbers, Texts, explored
from selfrep.store.run_directory import RunDirectory


def numbers_of(data: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(data["numbers"]), "<f4")


def test_numbers_are_those_of_the_store(tmp_path: Path) -> None:
    data = json.loads(json.dumps(explored(made(tmp_path))))
    kept, size = effects(), len(LAYERS) * len(POSITIONS)
    (swept,) = (atlas for atlas in data["atlases"] if atlas["name"] == "effects/resid_pre")
    assert (swept["layers"], swept["places"]) == (LAYERS, [str(position) for position in POSITIONS])
    singles = [sheet for sheet in swept["sheets"] if sheet["lines"][0]["label"] == "T of this pair"]
    for i, sheet in enumerate(singles):
        begin = sheet["lines"][0]["values"]
        np.testing.assert_array_equal(numbers_of(data)[begin : begin + size], kept.transfer[i].to_numpy().ravel())
        assert data["tokens"][sheet["tokens"]] == kept.token[i].to_numpy().tolist()
    assert len(singles) == 4
    assert "sr.open_run('.')" in singles[0]["code"]


def test_what_stands_beside_many_maps_is_kept_once(tmp_path: Path) -> None:
    data = explored(made(tmp_path))
    (swept,) = (atlas for atlas in data["atlases"] if atlas["name"] == "effects/resid_pre")
    means = [line["values"] for sheet in swept["sheets"] for line in sheet["lines"] if line["kind"] == "mean"]
    assert len(means) == 4
    assert len(set(means)) == 2, "one in each direction"
    assert len(data["tokens"]) == 2, "those of the sweep, and none for segments"


def test_maps_beyond_the_bound_are_counted_and_left_out(tmp_path: Path) -> None:
    run = made(tmp_path)
    whole, small = explored(run), explored(run, most=1200)
    assert sum(atlas["left_out"] for atlas in whole["atlases"]) == 0
    assert sum(atlas["left_out"] for atlas in small["atlases"]) > 0
    for before, after in zip(whole["atlases"], small["atlases"], strict=True):
        assert len(before["sheets"]) == len(after["sheets"]) + after["left_out"]
    assert numbers_of(small).nbytes < numbers_of(whole).nbytes


def test_findings_people_and_what_is_missing_can_be_searched(tmp_path: Path) -> None:
    data = explored(made(tmp_path))
    assert [finding["value"] for finding in data["findings"]] == ["5.8\xa0nats"]
    assert [person["label"] for person in data["people"]] == ["the clerk", "the engine"]
    assert any(sentence.startswith("Δ:") for sentence in data["missing"])
    assert not any(sentence.startswith("S:") for sentence in data["missing"]), "the control: S is there"


def test_a_run_that_has_only_begun_has_nothing_to_explore(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.create_or_resume("name: begun", "abc")
    data = explored(run)
    assert (data["atlases"], data["numbers"]) == ([], "")
    assert len(data["missing"]) == 4


def test_equal_arrays_and_texts_have_one_place() -> None:
    numbers, texts = Numbers(), Texts()
    nothing = np.full((2, 2), np.nan, np.float32)
    assert [numbers.place(a) for a in (nothing, nothing + 1, np.ones(3, np.float32), nothing)] == [0, 0, 4, 0]
    assert [texts.place(*pair) for pair in (("a", [1]), ("b", [2]), ("a", [3]))] == [0, 1, 0]
    assert texts.values == [[1], [2]]
