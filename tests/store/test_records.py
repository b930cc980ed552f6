"""The small files of a run are read with care: sealed, of text, of a length, and nothing but files."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from selfrep import digests
from selfrep.errors import SelfrepError
from selfrep.store import records
from selfrep.store.findings import Finding
from selfrep.store.records import json_of, sealed_of, text_of, write_sealed
from selfrep.store.run_directory import RunDirectory

RECORD = {"model": "tiny", "seed": 3, "words": {"ä": [1.5, None, True]}}


def written(folder: Path, record: dict[str, Any]) -> Path:
    file = folder / "provenance.json"
    write_sealed(file, record)
    return file


@pytest.mark.parametrize("record", [{}, RECORD])
def test_a_record_comes_back_and_is_plain_json(record: dict[str, Any], tmp_path: Path) -> None:
    file = written(tmp_path, record)
    assert sealed_of(file) == record
    assert json.loads(file.read_text("utf-8")) == {**record, "sha256": digests.of_json(record)}


def test_any_change_is_noticed(tmp_path: Path) -> None:
    file = written(tmp_path, RECORD)
    whole, same = file.read_bytes(), 0
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        file.write_bytes(damaged)
        with suppress(SelfrepError):
            assert sealed_of(file) == RECORD, at  # another blank between
            same += 1
    assert same < len(whole) / 5, "the control"


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "3", "null", '{"sha256": 1}', "[" * 10**5, '{"a": NaN}', "\ufeff{}"]
)
def test_what_is_no_record_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "provenance.json"
    file.write_text(content, "utf-8")
    with pytest.raises(SelfrepError, match=r"provenance\.json"):
        sealed_of(file)


def test_only_files_of_text_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "study.yaml"
    for make, kind in (
        (lambda: os.mkfifo(file), "a pipe"),
        (lambda: file.mkdir(), "a folder"),
        (lambda: file.symlink_to("/etc/hostname"), "a link"),
        (lambda: file.write_bytes(b"\xff\xfe"), "decode"),
    ):
        make()
        with pytest.raises(SelfrepError, match=kind):
            text_of(file)
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    with pytest.raises(SelfrepError, match="No such file"):
        text_of(file)
    file.write_text("long")
    monkeypatch.setattr(records, "LONGEST", 3)
    with pytest.raises(SelfrepError, match="has 4 bytes"):
        json_of(file)


@pytest.mark.parametrize("content", ["[]", "{}", '[{"title": 3}]', "[[]]", "nonsense"])
def test_findings_that_were_changed_are_refused_and_made_anew(run: RunDirectory, content: str) -> None:
    finding = Finding("The sides differ by", 5.8, (4.9, 6.8), "0.1 nats", "16 personas", unit="nats")
    run.write_findings([finding])
    file = run.path / "findings.json"
    file.write_text(content)
    with pytest.raises(SelfrepError, match=r"findings\.json is not what was written"):
        run.findings()
    file.unlink()
    with pytest.raises(SelfrepError, match=r"findings\.json"):
        run.findings()
    run.write_findings([finding])
    assert run.findings() == (finding,)
