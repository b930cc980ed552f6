"""One process writes into a run directory, and a second one is told who."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest

from selfrep.errors import SelfrepError
from selfrep.store import owner as places
from selfrep.store.owner import changing, owner, owners, owning
from selfrep.store.shard import Shard

OWNER = ".owner.json"

HOLD = """
import sys, time
from pathlib import Path
from selfrep.store.owner import owning
with owning(Path(sys.argv[1]), print):
    print("mine", flush=True)
    time.sleep(60)
"""


def elsewhere(folder: Path) -> subprocess.Popen[str]:
    """Another process that owns the directory."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def test_a_second_process_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    process = elsewhere(tmp_path)
    try:
        who = rf"is in use by process {process.pid} on {platform.node()} \(since 2.*\).*--out"
        with pytest.raises(SelfrepError, match=who), owning(tmp_path, print):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    told: list[str] = []
    with owning(tmp_path, told.append):
        assert owner(tmp_path).pid == os.getpid()  # type: ignore[union-attr]
    assert len(told) == 1
    assert f"was left by process {process.pid} on {platform.node()}" in told[0]
    assert "going on where it stopped" in told[0]
    with owning(tmp_path, told.append):
        pass
    assert len(told) == 1, "the control: an owner that ends by itself leaves nothing to tell"


def test_a_second_thread_or_a_second_run_of_this_process_is_refused(tmp_path: Path) -> None:
    mine = rf"in use by process {os.getpid()} on"
    with owning(tmp_path, print), pytest.raises(SelfrepError, match=mine), owning(tmp_path, print):
        pass
    with owning(tmp_path, print), owning(tmp_path / "another", print):
        pass


def test_an_error_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), owning(tmp_path, print):
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} <= {".lock", ".changing"}, "locks, which may stay"
    with owning(tmp_path, print):
        pass


def test_an_owner_on_another_computer_is_not_taken_for_dead(tmp_path: Path) -> None:
    """Computers that share a folder need not see each other's locks."""
    (tmp_path / OWNER).write_text(json.dumps({"host": "node17", "pid": 4, "since": "2026-01-02 03:04:05"}))
    with pytest.raises(SelfrepError, match=r"may be in use by process 4 on node17.*delete .*owner.json"):
        owning(tmp_path, print).__enter__()
    assert owner(tmp_path).host == "node17"  # type: ignore[union-attr]
    (tmp_path / OWNER).unlink()
    with owning(tmp_path, print):
        pass


def test_where_nothing_can_be_locked_the_file_alone_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "_acquire", none)
    told: list[str] = []
    with owning(tmp_path, told.append), pytest.raises(SelfrepError, match="may be in use by process"):
        owning(tmp_path, told.append).__enter__()
    assert "file system without locks" in told[0]


def test_what_is_cut_short_names_nobody(tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text("{")
    assert owner(tmp_path) is None
    with owning(tmp_path, print):
        pass


def test_of_two_that_start_together_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / OWNER).write_text(json.dumps({"host": platform.node(), "pid": 4, "since": "then"}))  # left by a third
    code = HOLD.replace("time.sleep(60)", "sys.stdin.read()")
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]  # fmt: skip
    deadline = time.monotonic() + 60
    while all(process.poll() is None for process in both) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in both:
        process.communicate()  # the owner ends when there is nothing more to read
    assert sorted(process.returncode for process in both) == [0, 1]


def test_workers_of_different_shards_go_together_and_nobody_beside_them(tmp_path: Path) -> None:
    with owning(tmp_path, print, Shard(0, 3)), owning(tmp_path, print, Shard(2, 3)):
        assert [who.pid for who in owners(tmp_path)] == [os.getpid()] * 2
        for other in (Shard(2, 3), Shard(1, 2), None):
            with pytest.raises(SelfrepError, match=r"different shards that divide it alike.*in use by process"):
                owning(tmp_path, print, other).__enter__()
        with owning(tmp_path, print, Shard(1, 3)):
            pass
    assert owners(tmp_path) == ()
    with owning(tmp_path, print), pytest.raises(SelfrepError, match="in use by"):
        owning(tmp_path, print, Shard(0, 3)).__enter__()
    assert {path.name for path in tmp_path.iterdir()} <= {".changing"}


def test_a_worker_that_was_killed_is_in_nobody_s_way(tmp_path: Path) -> None:
    (tmp_path / ".owner-1-of-3.json").write_text(json.dumps({"host": platform.node(), "pid": 4, "since": "then"}))
    told: list[str] = []
    with owning(tmp_path, told.append, Shard(1, 3)):
        assert "was left by process 4" in told[0]
    (tmp_path / ".owner-1-of-3.json").write_text(json.dumps({"host": platform.node(), "pid": 4, "since": "then"}))
    with owning(tmp_path, told.append):
        pass


@pytest.mark.parametrize("clock", [-3600.0, 3600.0])
def test_on_another_computer_the_sign_of_life_decides_by_the_clock_of_the_file_system(
    tmp_path: Path, clock: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock of this computer that is an hour wrong changes nothing."""
    true = time.time()
    monkeypatch.setattr(time, "time", lambda: true + clock)
    file = tmp_path / OWNER
    file.write_text(json.dumps({"host": "node17", "pid": 4, "since": "2026-01-02 03:04:05"}))
    with pytest.raises(SelfrepError, match="or wait 3 minutes"):
        owning(tmp_path, print).__enter__()
    silent = file.stat().st_mtime - places.SILENCE - 1
    os.utime(file, (silent, silent))
    told: list[str] = []
    with owning(tmp_path, told.append):
        assert "left by process 4 on node17" in told[0]


def test_an_owner_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "BEAT", 0.01)
    with owning(tmp_path, print):
        os.utime(tmp_path / OWNER, (1.0, 1.0))
        deadline = time.monotonic() + 30
        while (tmp_path / OWNER).stat().st_mtime < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / OWNER).stat().st_mtime > 2
    assert owner(tmp_path) is None


def test_what_is_shared_is_changed_by_one_after_the_other(tmp_path: Path) -> None:
    """Four processes add one to a number in a file, fifty times each; without the lock additions are lost."""
    code = """
import sys
from pathlib import Path
from selfrep.store.owner import changing
folder = Path(sys.argv[1])
for _ in range(50):
    with changing(folder):
        (folder / "n").write_text(str(int((folder / "n").read_text()) + 1))
"""
    (tmp_path / "n").write_text("0")
    four = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in four] == [0] * 4
    assert (tmp_path / "n").read_text() == "200"


def test_one_that_never_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PATIENCE", 0.1)
    other = filelock.FileLock(tmp_path / places.CHANGING, is_singleton=False)
    with other, pytest.raises(SelfrepError, match=r"one after the other.*delete .*changing"), changing(tmp_path):
        pass
