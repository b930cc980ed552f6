"""One owner a run directory: two processes that write into one would mix their rows, and each would spoil the other's.

The owner holds a lock of the operating system, which is let go of when its process ends, however it ends; a file beside
it says who that is. A file without a lock was left by a process that was killed, unless the lock is on another computer
that shares the folder: not all file systems tell one of the locks of another.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import filelock

from selfrep.errors import SelfrepError
from selfrep.files import replace_file, reserve, writing

LOCK, OWNER = ".lock", ".owner.json"


class Owner(NamedTuple):
    """Who writes into a run directory: the computer, its process, and since when (local time)."""

    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


@contextmanager
def owning(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Inside the `with` block this process owns the directory, which is made where there is none.

    Args:
        tell: hears when the directory is taken over from a process that was killed.

    Raises:
        SelfrepError: another process owns it (or this one does, in another thread), or may; it cannot be written.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with owning(folder, print):
        ...     owner(folder).pid == os.getpid()
        True
        >>> owner(folder) is None
        True
    """
    reserve(folder)
    file, here = folder / OWNER, platform.node()
    lock = filelock.FileLock(folder / LOCK, timeout=0, is_singleton=False)
    try:
        with writing(folder):
            lock.acquire()
    except filelock.Timeout:
        raise SelfrepError(
            f"A run directory has one owner; {folder} is in use by {owner(folder) or 'another process'}. Wait until it "
            "ends, stop it, or choose another directory with --out."
        ) from None
    except NotImplementedError:  # a file system without locks
        tell(f"{folder} lies on a file system without locks: nothing but {file.name} keeps a second process out of it.")
    try:
        if (before := owner(folder)) is not None:
            if before.host != here or not lock.is_locked:
                raise SelfrepError(
                    f"A run directory has one owner; {folder} may be in use by {before}, which {here} cannot see. "
                    f"If that process has ended, delete {file}; else choose another directory with --out."
                )
            tell(f"{folder} was left by {before}, which has ended: going on where it stopped.")
        with writing(folder):
            replace_file(file, json.dumps(Owner(here, os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))._asdict()))
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
    finally:
        lock.release()


def owner(folder: Path) -> Owner | None:
    """Who owns a run directory, or owned it when it was killed; None where nobody does.

    Example:
        >>> owner(Path("no such folder")) is None
        True
    """
    try:
        return Owner(**json.loads((folder / OWNER).read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # none, or cut short by a full disk: the lock alone decides
        return None
