"""A provenance that was changed is noticed when it is read, and one that a run wrote is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.store.provenance import read
from selfrep.store.records import write_sealed
from selfrep.store.run_directory import RunDirectory

WRITTEN = {
    "model": "tiny", "weights_hash": None, "n_layers": 2, "seconds": 3, "clock": "2026-11-30T12:00:00",
    "versions": {"torch": "2.0"}, "prompts": {"n": 1, "hash": "ab", "first": "x"}, "of_mine": [1, None],
    "answers": {"words": {"who": {" chemist": "is 2 tokens"}}, "questions": {}, "lost": {"who": [0.0]}, "parts": {}},
}  # fmt: skip


def test_what_a_run_writes_is_read_as_it_is() -> None:
    assert read(json.dumps(WRITTEN).encode(), "provenance.json") == WRITTEN


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"model": 3}, "model"),
        ({"n_layers": True}, "n_layers"),
        ({"n_layers": "2"}, "n_layers"),
        ({"clock": "yesterday"}, "clock"),
        ({"versions": ["torch"]}, "versions"),
        ({"prompts": {"n": 1}}, "prompts › hash"),
        ({"prompts": None}, "prompts"),
        ({"answers": {**WRITTEN["answers"], "lost": {"who": 0.5}}}, "answers › lost › who"),
        ({"itself": {"reason": None, "left_out": {}}}, "itself › reason"),
    ],
)
def test_another_kind_of_entry_is_refused_by_name(change: dict[str, object], place: str, tmp_path: Path) -> None:
    write_sealed(tmp_path / "provenance.json", WRITTEN | change)
    with pytest.raises(SelfrepError, match=rf"provenance\.json must say .*: {place}.*--fresh"):
        RunDirectory(tmp_path).provenance()


@pytest.mark.parametrize("text", [b"", b"null", b"[]", b"{", b'{"a":' * 100_000, b"\xff", b'{"model": "\\ud800"}'])
def test_what_is_no_record_is_refused(text: bytes) -> None:
    with pytest.raises(SelfrepError, match="the whole file"):
        read(text, "provenance.json")
