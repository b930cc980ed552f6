"""The cache keeps what is whole, rebuilds what is not, and survives processes that race or die."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import cache

# A stand-in for a conversion: writes one file, slowly, and logs that it was asked to.
BUILDER = """
import os, sys, time
from pathlib import Path
from selfrep.models import cache

def build(folder: Path) -> cache.Record:
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    (folder / "weights").write_text("half")
    if sys.argv[3] == "die":
        os.kill(os.getpid(), 9)
    time.sleep(0.5)
    (folder / "weights").write_text("whole")
    digest = cache.read_sha256(folder / "weights")
    return cache.Record("tiny", "source", digest, {"weights": digest}, {})

print(cache.build_once(sys.argv[2], build))
"""


def start(log: Path, key: str, how: str = "live") -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", BUILDER, str(log), key, how], stdout=subprocess.PIPE, text=True)


def build(folder: Path) -> cache.Record:
    (folder / "weights").write_text("whole")
    digest = cache.read_sha256(folder / "weights")
    return cache.Record("tiny", "source", digest, {"weights": digest}, {})


def refuse(folder: Path) -> cache.Record:
    raise AssertionError(f"{folder} should not have been built again")


def test_processes_that_race_build_once(own_cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    racers = [start(log, "same") for _ in range(3)]
    outputs = {racer.communicate(timeout=60)[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    assert outputs == {f"{own_cache / 'models' / 'same'}\n"}
    assert log.read_text().count("built") == 1
    assert (own_cache / "models" / "same" / "weights").read_text() == "whole"


def test_processes_with_different_models_do_not_wait_for_each_other(own_cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"  # the control for the race above: the log does count
    racers = [start(log, key) for key in ("one", "two")]
    for racer in racers:
        racer.communicate(timeout=60)
    assert [racer.returncode for racer in racers] == [0, 0]
    assert log.read_text().count("built") == 2


def test_a_build_killed_half_way_leaves_nothing_in_the_way(own_cache: Path, tmp_path: Path) -> None:
    killed = start(tmp_path / "log", "key", how="die")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    models = own_cache / "models"
    assert [path.name.startswith(".key.") for path in models.iterdir()] == [True], "the control: there is debris"
    folder = cache.build_once("key", build)
    assert (folder / "weights").read_text() == "whole"
    assert list(models.iterdir()) == [folder]


def truncate(folder: Path) -> None:
    (folder / "weights").write_text("who")


def flip(folder: Path) -> None:
    (folder / "weights").write_text("whale")


def drop_weights(folder: Path) -> None:
    (folder / "weights").unlink()


def drop_record(folder: Path) -> None:
    (folder / cache.RECORD).unlink()


def cut_record(folder: Path) -> None:
    (folder / cache.RECORD).write_text((folder / cache.RECORD).read_text()[:40])


def alien_record(folder: Path) -> None:
    (folder / cache.RECORD).write_text('{"name": "tiny", "colour": "blue"}')


@pytest.mark.parametrize("damage", [truncate, flip, drop_weights, drop_record, cut_record, alien_record])
@pytest.mark.usefixtures("own_cache")
def test_a_damaged_copy_heals(damage) -> None:
    folder = cache.build_once("key", build)
    assert cache.build_once("key", refuse) == folder, "the control: an undamaged copy is used as it is"
    damage(folder)
    assert cache.build_once("key", build) == folder
    assert (folder / "weights").read_text() == "whole"
    assert cache.intact(folder)


def test_a_full_disk_is_explained_and_leaves_no_debris(own_cache: Path) -> None:
    def fill(folder: Path) -> cache.Record:
        (folder / "weights").write_text("ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(SelfrepError, match=r"No space left on device.*SELFREP_CACHE"):
        cache.build_once("key", fill)
    assert list((own_cache / "models").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SelfrepError, match=r"folder that can be written.*file/cache"):
        cache.build_once("key", build)


def unread(path: Path, read: object) -> str:
    raise AssertionError(f"{path} should not have been read again")


def test_hashes_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert cache.file_sha256(file) == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(cache, "read_sha256", unread)
        assert cache.file_sha256(file) == hashlib.sha256(b"one").hexdigest()
        file.write_bytes(b"three")
        with pytest.raises(AssertionError):
            cache.file_sha256(file)
    assert cache.file_sha256(file) == hashlib.sha256(b"three").hexdigest()


def test_a_byte_that_flips_under_an_old_time_stamp_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"whole")
    stat = file.stat()
    assert cache.file_sha256(file) == hashlib.sha256(b"whole").hexdigest()
    file.write_bytes(b"whale")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns), "the control"
    assert cache.file_sha256(file) == hashlib.sha256(b"whale").hexdigest()
    # A failing disk changes not even the time of the inode: the next process reads the file all the same.
    known = dict(cache._digests)
    monkeypatch.setattr(cache, "_digests", {})
    assert cache.file_sha256(file) == hashlib.sha256(b"whale").hexdigest()
    assert known.items() >= cache._digests.items()


def test_files_of_many_parts_are_hashed_as_sha256sum_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {tmp_path / str(n): os.urandom(n) for n in (0, 1, 2**20, 2**20 + 1, 3 * 2**20)}
    for file, content in files.items():
        file.write_bytes(content)
    digests = cache.file_sha256s(files)
    assert digests == {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    assert capsys.readouterr().err == "", "no bar where it takes no time"


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREP_CACHE", "~/somewhere")
    assert cache.cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("SELFREP_CACHE")
    assert cache.cache_folder().name == "selfrep"


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("SELFREP_CACHE", raising=False)
    monkeypatch.setattr(cache.platformdirs, "user_cache_path", homeless)
    with pytest.raises(SelfrepError, match="Set HOME, or SELFREP_CACHE"):
        cache.cache_folder()
