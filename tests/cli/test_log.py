"""A log says when what was done, however the command ends, and nothing without being asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from selfrep.cli import log
from selfrep.cli.log import LOG, Stages, logged
from selfrep.cli.progress import progress, warn
from selfrep.errors import SelfrepError

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} (INFO|WARNING|ERROR) +")


def lines(file: Path) -> list[str]:
    found = file.read_text("utf-8").splitlines()
    assert all(STAMP.match(line) for line in found)
    return [STAMP.sub("", line) for line in found]


def test_stages_warnings_and_the_end_have_time_stamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["selfrep", "run", "study.yaml"])
    file = tmp_path / "logs" / "run.log"
    with logged(file), progress() as on_progress:
        for done in range(3):
            on_progress("reading", done, 4)
        warn("a word \x1b[2J")
        on_progress("patching", 3, 4)
    assert lines(file) == [
        "began: selfrep run study.yaml",
        "0% reading",
        r"a word \x1b[2J",
        "75% patching",
        "ended well",
    ]
    with pytest.raises(SelfrepError), logged(file):
        raise SelfrepError("The rule.")
    assert lines(file)[-1] == "ended: The rule.", "what was there stays"
    assert len(lines(file)) == 7
    assert str(file) not in [getattr(handler, "baseFilename", "") for handler in LOG.handlers], "nothing stays"
    with pytest.raises(SystemExit), logged(file):
        raise SystemExit(1)
    assert lines(file)[-1] == "ended: SystemExit"


def test_a_long_stage_is_heard_of_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: clock[0])
    file = tmp_path / "run.log"
    with logged(file):
        note = Stages()
        for second in range(25):
            clock[0] = float(second)
            note("reading", second, 25)
    assert lines(file)[1:-1] == ["0% reading", "40% reading", "80% reading"]


def test_verbose_stands_for_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(None, verbose=True), progress() as on_progress:
        on_progress("reading", 1, 4)
    said = capsys.readouterr().err.splitlines()
    assert all(STAMP.match(line) for line in said)
    assert said[1].endswith("25% reading")


def test_nothing_is_said_without_being_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with logged(None):
        LOG.error("nobody hears this")
    assert capsys.readouterr().err == ""


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SelfrepError, match="cannot be an output directory"):
        logged(tmp_path / "file" / "run.log").__enter__()
