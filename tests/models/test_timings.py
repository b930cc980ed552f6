"""What is measured of a machine is measured once, and chosen by alike in every process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selfrep.models.timings import kept

MEASURE = """
import os, sys, time
from selfrep.models.timings import kept
def measure():
    time.sleep(0.3)  # long enough for the others to ask meanwhile
    return {"by": os.getpid()}
print(kept(["the same"], measure)["by"])
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path))


def test_processes_that_ask_at_once_are_told_the_same() -> None:
    four = [subprocess.Popen([sys.executable, "-c", MEASURE], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0] for process in four}) == 1
    assert kept(["another"], lambda: {"by": 0}) == {"by": 0}


@pytest.mark.parametrize("damaged", ["{ this is no JSON", "[]", '{"of": []}', ""])
def test_what_cannot_be_read_is_measured_again(tmp_path: Path, damaged: str) -> None:
    assert kept(["x"], lambda: {"seconds": 1.0}) == {"seconds": 1.0}
    (file,) = (tmp_path / "timings").glob("*.json")
    file.write_text(damaged)
    assert kept(["x"], lambda: {"seconds": 2.0}) == kept(["x"], lambda: {"seconds": 3.0}) == {"seconds": 2.0}


def test_where_nothing_can_be_kept_it_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path / "file"))
    assert [kept(["x"], lambda n=n: {"n": n})["n"] for n in (1, 2)] == [1, 2]
