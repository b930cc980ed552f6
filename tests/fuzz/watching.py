"""What a command does besides answering: files that it opens to write, programs and connections that it starts.

Python's audit events tell it, whichever library asks. A hook cannot be taken away again, so there is one, which listens
while somebody watches.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
_LEAVING = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.getaddrinfo",
    "webbrowser.open", "pickle.find_class", "ctypes.dlopen",
}  # fmt: skip
_HARMLESS = ("/dev/null", "/dev/shm")

_listeners: list[tuple[Path, list[str]]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listeners:
        return
    room, deeds = _listeners[-1]
    if event == "open" and isinstance(arguments[0], str | bytes) and (arguments[2] or 0) & _WRITING:
        _note(deeds, room, event, arguments[0])
    elif event in _CHANGING:
        for place in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
            if isinstance(place, str | bytes | os.PathLike):
                _note(deeds, room, event, place)
    elif event in _LEAVING:
        deeds.append(f"{event} {arguments[:2]}")
    elif event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(str(room)):
        deeds.append(f"ran {arguments[0].co_filename}")


def _note(deeds: list[str], room: Path, event: str, place: Any) -> None:
    where = os.path.abspath(os.fsdecode(place))
    compiled = f"{os.sep}__pycache__{os.sep}" in where or where.endswith("__pycache__")
    if not compiled and not where.startswith(_HARMLESS) and not Path(where).is_relative_to(room):
        deeds.append(f"{event} {where}")


sys.addaudithook(_hear)


@contextmanager
def watching(room: Path) -> Iterator[list[str]]:
    """Inside the `with` block: what is done that leaves the folder `room`, sentence by sentence."""
    deeds: list[str] = []
    _listeners.append((room, deeds))
    try:
        yield deeds
    finally:
        _listeners.pop()
