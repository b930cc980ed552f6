"""The command, run in this process, and studies that it is given."""

from __future__ import annotations

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from tests.analyses.planted import TEN

from selfrep.cli import main
from selfrep.models.organisms import BATTERY, PERSONAS

TINY = f"""
name: tiny
model: "organism:separate"
personas: {{file: "{PERSONAS}"{TEN}}}
battery: {{file: "{BATTERY}", names: [who_are_you, what_writes]}}
separation: {{item: who_are_you}}
transfer:
  pairs: [[network, nurse], [robot, farmer]]
  items: [who_are_you]
  sweeps: [{{site: resid_pre, by: segment}}]
"""


def selfrep(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The command, run in this process: what it said, and the code that it ended with."""
    said, told, code = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(said), redirect_stderr(told):
        patched.setattr("sys.argv", ["selfrep", *arguments])
        patched.setattr("selfrep.report.figures.ENDINGS", (".html",))
        for name, value in env.items():
            patched.setenv(name, value)
        if cwd:
            patched.chdir(cwd)
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, said.getvalue(), told.getvalue())


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("selfrep: ") :]
    for word in words:
        assert word in message
