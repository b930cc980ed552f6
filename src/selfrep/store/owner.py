"""Who writes into a run directory: one process that has it to itself, or workers that fill it together.

Two runs in one directory would mix their rows, and each would spoil the other's. Workers may share it: each fills the
blocks of its own shard, and what several of them change (which groups there are, provenance.json) they change one after
the other, inside `changing`.

Whoever is there holds a lock of the operating system, which is let go of when its process ends, however it ends; a file
beside it says who that is, and is touched now and then as a sign of life. A file without a lock was left by a process
that was killed. On another computer that shares the folder locks need not be seen: there the sign of life decides, and
its age is told by the clock of the file system, the same for all.
"""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import filelock

from selfrep.errors import SelfrepError
from selfrep.files import replace_file, reserve, writing
from selfrep.store.shard import Shard

CHANGING = ".changing"
BEAT, SILENCE = 20.0, 180.0
"""Seconds between two signs of life, and without one until an owner on another computer counts as dead."""
PATIENCE = 120.0
"""Seconds to wait for another process that changes what all share."""

_RULE = "A run directory has one owner, or workers of different shards that divide it alike"


class Owner(NamedTuple):
    """Who writes into a run directory: the computer, its process, and since when (local time)."""

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Inside the `with` block no other process changes what the workers in a folder share. It may be nested.

    Raises:
        SelfrepError: another one does for minutes; the folder cannot be written.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with changing(folder), changing(folder):
        ...     pass
    """
    lock = filelock.FileLock(folder / CHANGING, timeout=PATIENCE, is_singleton=True)
    try:
        with writing(folder):
            lock.acquire()
    except filelock.Timeout:
        raise SelfrepError(
            f"Workers change a run directory one after the other, and one has been at it for {PATIENCE:.0f} seconds. "
            f"If none is running, delete {folder / CHANGING}."
        ) from None
    except NotImplementedError:  # a file system without locks; whoever has it to itself was told so
        yield
        return
    try:
        yield
    finally:
        lock.release()


@contextmanager
def owning(folder: Path, tell: Callable[[str], None], shard: Shard | None = None) -> Iterator[None]:
    """Inside the `with` block this process writes into the directory, which is made where there is none.

    Args:
        tell: hears when the directory is taken over from a process that was killed.
        shard: of a worker, which lets others beside it; None: it has the directory to itself.

    Raises:
        SelfrepError: another process is in the way (or this one, in another thread), or may be; the directory cannot be
            written.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> with owning(folder, print):
        ...     owner(folder).pid == os.getpid()
        True
        >>> owner(folder) is None
        True
        >>> with owning(folder, print, Shard(0, 2)), owning(folder, print, Shard(1, 2)):
        ...     owner(folder) is None, len(owners(folder))
        (True, 2)
    """
    reserve(folder)
    own = _Place(folder, shard)
    with changing(folder):
        for other in (own, *_places(folder)):
            if not own.goes_with(other):
                other.require_free()
        own.take(tell)
    life = _SignOfLife(own.file)
    life.start()
    try:
        yield
    finally:
        life.over.set()
        life.join()
        own.leave()


def owner(folder: Path) -> Owner | None:
    """Who has a run directory to itself, or had it when it was killed; None where nobody does.

    Example:
        >>> owner(Path("no such folder")) is None
        True
    """
    return _Place(folder).named()


def owners(folder: Path) -> tuple[Owner, ...]:
    """All who write into a run directory, or did when they were killed."""
    return tuple(who for place in _places(folder) if (who := place.named()) is not None)


class _Place:
    """The place of one owner in a run directory, which two processes cannot have; `file` says who has it."""

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        name = "" if shard is None else f"-{shard.number}-of-{shard.of}"
        self.folder, self.shard, self.file = folder, shard, folder / f".owner{name}.json"
        self._lock = filelock.FileLock(folder / f".lock{name}", timeout=0, is_singleton=False)

    def goes_with(self, other: _Place) -> bool:
        """Whether both may be taken at once: by different workers that divide the work alike."""
        mine, its = self.shard, other.shard
        return mine is not None and its is not None and mine != its and mine.of == its.of

    def named(self) -> Owner | None:
        """Who has it, or left it; None where nobody did, or a full disk cut the name short."""
        try:
            return Owner(**json.loads(self.file.read_text("utf-8")))
        except (OSError, ValueError, TypeError):  # the lock alone decides
            return None

    def require_free(self) -> None:
        """Raises SelfrepError: somebody has it, or may, as far as this computer can tell."""
        who, seen = self.named(), True
        try:
            self._lock.acquire()
            self._give_back()
        except filelock.Timeout:
            raise SelfrepError(
                f"{_RULE}; {self.folder} is in use by {who or 'another process'}. Wait until it ends, stop it, or "
                "choose another directory with --out."
            ) from None
        except NotImplementedError:
            seen = False
        here = platform.node()
        if who is not None and not (seen and who.host == here) and self._breathes():
            raise SelfrepError(
                f"{_RULE}; {self.folder} may be in use by {who}, which {here} cannot see. If that process has "
                f"ended, delete {self.file}, or wait {SILENCE / 60:.0f} minutes; else choose another directory with "
                "--out."
            )

    def _breathes(self) -> bool:
        """Whether there was a sign of life lately, by the clock of the file system."""
        with writing(self.folder), tempfile.TemporaryFile(dir=self.folder) as probe:
            probe.write(b"now")
            probe.flush()
            now = os.fstat(probe.fileno()).st_mtime
        return abs(now - self.file.stat().st_mtime) < SILENCE

    def take(self, tell: Callable[[str], None]) -> None:
        """Take it, also from a process that has ended."""
        try:
            with writing(self.folder):
                self._lock.acquire()
        except NotImplementedError:
            tell(
                f"{self.folder} lies on a file system without locks: nothing but {self.file.name} keeps a second "
                "process out of it."
            )
        if (before := self.named()) is not None:
            tell(f"{self.folder} was left by {before}, which has ended: going on where it stopped.")
        me = Owner(platform.node(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))
        with writing(self.folder):
            replace_file(self.file, json.dumps(me._asdict()))

    def leave(self) -> None:
        """Give it back, and leave nothing."""
        with changing(self.folder):  # nobody waits for a lock whose file goes
            self.file.unlink(missing_ok=True)
            self._give_back()

    def _give_back(self) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


class _SignOfLife(threading.Thread):
    """Touches a file now and then, until `over` is set."""

    def __init__(self, file: Path) -> None:
        super().__init__(name="sign of life", daemon=True)
        self._file, self.over = file, threading.Event()

    def run(self) -> None:
        """As long as it goes on."""
        while not self.over.wait(BEAT):
            # A network folder may not answer for a moment. Whoever hears nothing for long takes us for dead; that is
            # what the file is for.
            with suppress(OSError):
                os.utime(self._file)


def _places(folder: Path) -> list[_Place]:
    """Those that somebody has, or left."""
    names = (re.fullmatch(r"\.owner(?:-(\d+)-of-(\d+))?\.json", file.name) for file in folder.glob(".owner*.json"))
    shards = [Shard(int(name[1]), int(name[2])) if name[1] else None for name in names if name]
    return [_Place(folder, shard) for shard in sorted(shards, key=lambda shard: shard or (-1, -1))]
