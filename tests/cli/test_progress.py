"""How far a command is: a line a stage in a log, a bar in a terminal."""

from __future__ import annotations

import re

import pytest
from rich.console import Console

from selfrep.cli.progress import progress


def test_a_log_has_a_line_for_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as on_progress:
        for stage, done in (("reading", 0), ("reading", 1), ("patching", 2), ("patching", 4), ("done", 4)):
            on_progress(stage, done, 4)
        on_progress("nothing to do", 0, 0)
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^ *\d+:\d\d +", "", line) for line in lines] == [
        "0% reading",
        "50% patching",
        "100% done",
        "100% nothing to do",
    ]


def test_a_terminal_has_one_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        "selfrep.cli.progress._stderr", lambda: Console(stderr=True, force_terminal=True, width=80, color_system=None)
    )
    with progress() as on_progress:
        on_progress("reading", 1, 4)
    bar = next(line for line in capsys.readouterr().err.splitlines() if "reading" in line)
    assert "25%" in bar
    assert "left:" in bar
