"""A file is there whole or not at all, and what the operating system refuses is said in words that help."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from tests.forbidden import forbidden

from selfrep.errors import SelfrepError
from selfrep.files import reserve, write_file, writing


def test_text_and_bytes_arrive_with_their_folders(tmp_path: Path) -> None:
    assert write_file(tmp_path / "a" / "b" / "text.txt", "naïve – ␣").read_bytes() == "naïve – ␣".encode()
    assert write_file(tmp_path / "bytes", b"\x00\xff").read_bytes() == b"\x00\xff"


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = write_file(tmp_path / "report.html", "old")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "replace", refuse) if step == "replace" else (Path, "write_bytes", refuse)))
    with pytest.raises(SelfrepError, match=r"disk is full.*still there.*Free some space"):
        write_file(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "disk is full"),
        (errno.EFBIG, "disk is full"),
        (errno.EIO, "does not answer.*run the same command again"),
        (errno.ESTALE, "does not answer.*run the same command again"),
        (errno.EMFILE, "Too many files.*ulimit -n"),
        (errno.EACCES, "not writable.*--out"),
        (errno.EROFS, "not writable.*--out"),
        (errno.ENOTDIR, "cannot be an output directory.*--out"),
    ],
)
def test_refusals_are_explained(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(SelfrepError, match=words) as caught, writing(tmp_path):
        raise OSError(number, os.strerror(number))
    assert number == errno.EMFILE or str(tmp_path) in str(caught.value)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SelfrepError, match=r"cannot be an output directory.*file"):
        write_file(tmp_path / "file" / "below" / "x.txt", "text")


def test_a_folder_is_reserved_only_where_it_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(SelfrepError, match="cannot be an output directory"):
        reserve(tmp_path / "taken")
    (tmp_path / "there").mkdir()
    for folder in (tmp_path / "there", tmp_path / "deep" / "new"):
        with forbidden(tmp_path), pytest.raises(SelfrepError, match=f"{folder.name} is not writable.*--out"):
            reserve(folder)
        reserve(folder)
        assert list(folder.iterdir()) == [], "made, and left empty"


def test_other_failures_are_not_dressed_up(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Invalid argument"), writing(tmp_path):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
