"""A folder that the operating system refuses to write to, for root as for everybody: root may write where permissions
forbid it, so a test that takes permissions away is blind there.

Python asks its audit hooks before every file that it opens, makes, moves or removes, whatever library asked for it. The
hook here refuses what the kernel would refuse in a folder without permission.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.mkdir": 1, "os.rename": 2, "os.remove": 1, "os.rmdir": 1, "os.truncate": 1, "os.link": 2}
"""Events that change a folder, and how many of their first arguments are paths."""
_folders: list[str] = []
_installed: list[bool] = []


@contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    """Nothing at or below `folder` may be written, made, moved or removed by this process; it can still be read."""
    if not _installed:  # a hook stays for as long as the process does; without folders it does nothing
        sys.addaudithook(_refuse)
        _installed.append(True)
    _folders.append(os.path.abspath(folder))
    try:
        yield
    finally:
        _folders.pop()


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _folders:
        return
    writes = event == "open" and arguments[2] & _WRITES
    for path in arguments[: 1 if writes else _CHANGES.get(event, 0)]:
        if isinstance(path, str | bytes | os.PathLike):
            place = os.path.abspath(os.fsdecode(path))
            if any(place == folder or place.startswith(folder + os.sep) for folder in _folders):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)
