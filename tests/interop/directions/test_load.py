"""What was read is told, and the caller has the last word."""

from __future__ import annotations

from pathlib import Path

from tests.interop.directions.made import N, load, numbered, of_rows, save

from selfrep.interop.directions.load import load_directions


def test_what_is_read_is_told_and_an_offset_of_the_caller_s_is_taken(tmp_path: Path) -> None:
    told: list[str] = []
    file = save(tmp_path / "evil_prompt_avg_diff.pt", numbered(N + 1))
    load_directions(file, tell=told.append)
    assert told == [
        "evil_prompt_avg_diff.pt: row l is block l − 1 at resid_post; left out: row 0 (the embedding), row 4 (after "
        "the final norm)."
    ]
    assert of_rows(load(file, layer_offset=0)) == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4}
    assert of_rows(load(file, layer_offset=-2)) == {0: 2, 1: 3, 2: 4}
