"""A whole run that was damaged at random, file by file: what it says is what was measured, or it is refused in words.

Commands that read it end with code 2, without a traceback, and write nothing beside it.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.analyses.planted import rich
from tests.cli.command import selfrep

from selfrep.errors import SelfrepError
from selfrep.store.run import open_run
from selfrep.store.run_directory import RunDirectory

__all__ = ["rich"]

NOT_READ = {"report.html", "findings.csv", ".lock", ".owner.json"}


@pytest.fixture
def copy(rich: RunDirectory, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rich.path, tmp_path / "runs" / "copy"))


def said(path: Path) -> tuple[Any, ...]:
    run = open_run(path)
    return (
        run.findings,
        run.provenance,
        run.study,
        {group: run.directory.read(group) for group in run.directory.groups()},
    )


def read_of(copy: Path) -> list[Path]:
    """The files that are read again."""
    files = (file for file in sorted(copy.rglob("*")) if file.is_file() and file.parent.name != "figures")
    return [file for file in files if file.name not in NOT_READ]


def damaged(file: Path, rng: random.Random) -> str:
    """Change a file in one of the ways in which files change."""
    whole, how = (
        bytearray(file.read_bytes()),
        rng.choice(["bit", "byte", "cut", "empty", "gone", "swapped", "longer", "pipe", "link"]),
    )
    at = rng.randrange(len(whole)) if whole else 0
    if how in ("gone", "pipe", "link"):
        file.unlink()
        if how == "pipe":
            os.mkfifo(file)
        elif how == "link":
            file.symlink_to("/dev/zero")
        return how
    if how == "bit" and whole:
        whole[at] ^= 1 << rng.randrange(8)
    elif how == "byte" and whole:
        whole[at] = rng.randrange(256)
    elif how == "swapped" and whole:
        other = rng.randrange(len(whole))
        whole[at], whole[other] = whole[other], whole[at]
    else:
        whole = {"cut": whole[:at], "longer": whole + bytes([rng.randrange(256)])}.get(how, bytearray())
    file.write_bytes(whole)
    return how


def assert_right_or_refused(rich: RunDirectory, copy: Path, seed: int, n: int) -> None:
    rng, wanted = random.Random(seed), said(rich.path)
    files = read_of(copy)
    refused = 0
    for k in range(n):
        file = rng.choice(files)
        whole = file.read_bytes()
        how = damaged(file, rng)
        message = ""
        try:
            findings, provenance, study, groups = said(copy)
        except SelfrepError as error:
            message = str(error)
        if message:
            refused += 1
            assert str(copy) in message, (k, how, file, message)
        else:
            assert (findings, provenance, study) == wanted[:3], (k, how, file)
            assert groups.keys() == wanted[3].keys(), (k, how, file)
            assert all(groups[group].identical(wanted[3][group]) for group in groups), (k, how, file)
        file.unlink(missing_ok=True)
        file.write_bytes(whole)
    assert refused > 0.5 * n, "the control"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_run_says_what_was_measured_or_is_refused(rich: RunDirectory, copy: Path, seed: int) -> None:
    assert_right_or_refused(rich, copy, seed, 50)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "figures", "compare"])
def test_commands_end_with_a_message(rich: RunDirectory, copy: Path, command: str) -> None:
    rng, beside = random.Random(command), set(copy.parent.iterdir())
    files = read_of(copy)
    for _ in range(5):
        file = rng.choice(files)
        whole = file.read_bytes()
        how = damaged(file, rng)
        asked = [command, str(copy), *([str(rich.path)] if command == "compare" else [])]
        done = selfrep(*asked)
        told = (how, file, done.stdout, done.stderr)
        assert done.returncode in (0, 2), told
        assert "Traceback" not in done.stdout + done.stderr, told
        assert set(copy.parent.iterdir()) == beside
        file.unlink(missing_ok=True)
        file.write_bytes(whole)
