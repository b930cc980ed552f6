"""Writing files so that a reader never meets half of one, and so that a full or forbidden disk is explained once.

A file is written beside its final place and moved there in one step; what was there before stays readable until then.
The model cache and the run directory both write this way, and the cache must not know of run directories. So the one
writer lies below both, and only `write_file` adds the advice that concerns an output directory.
"""

from __future__ import annotations

import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfrep.errors import SelfrepError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_LOST = {
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ENODEV,
    errno.ENXIO,
}  # fmt: skip
_MISPLACED = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Translate the operating system's refusal to write at `path` into a `SelfrepError` that says what to do.

    Raises:
        SelfrepError: a full disk or quota, a disk or a network folder that does not answer, too many open files, a
            missing permission, a path that cannot hold a directory.
        OSError: any other, as it is.

    Example:
        >>> with writing(Path("out")):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: The disk is full: out could not be written (No space left on device). ...
    """
    try:
        yield
    except OSError as error:
        message = _refused(error, path) or explain(error, path)
        if message is None:
            raise
        raise SelfrepError(message) from error


def reserve(folder: Path) -> None:
    """Make the folder with its parents, and test at once whether it may be written, before minutes are spent.

    Raises:
        SelfrepError: it may not (see `writing`).

    Example:
        >>> folder = Path(tempfile.mkdtemp(), "runs", "demo")
        >>> reserve(folder)
        >>> folder.is_dir()
        True
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a folder that is there already may be closed
            pass


def explain(error: OSError, path: Path | None = None) -> str | None:
    """What the machine lacks where it refuses to read or to write, and what to do; None for any other error.

    Args:
        error: of the operating system; path: the file, where the error does not name it.

    Example:
        >>> explain(OSError(errno.EMFILE, "Too many open files"))
        'Too many files are open. Raise the limit (ulimit -n 1024) and run the same command again.'
        >>> explain(OSError(errno.EINVAL, "Invalid argument")) is None
        True
    """
    place = path or error.filename or "a file"
    if error.errno in _FULL:
        return (
            f"The disk is full: {place} could not be written ({error.strerror}). Everything finished before is still "
            "there and readable. Free some space and run the same command again: it takes up where it stopped."
        )
    if error.errno in _LOST:
        return (
            f"The disk, or the network folder, that holds {place} does not answer ({error.strerror}). Everything "
            "finished before is kept there. See that it is back and sound (mount, df), and run the same command again: "
            "it takes up where it stopped."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "Too many files are open. Raise the limit (ulimit -n 1024) and run the same command again."
    return None


def _refused(error: OSError, path: Path) -> str | None:
    """Why an output directory may not be written."""
    if error.errno in _FORBIDDEN:
        return (
            f"{path} is not writable ({error.strerror}). Choose another output directory with --out, or change the "
            "permissions of this one."
        )
    if error.errno in _MISPLACED:
        place = error.filename or path
        return (
            f"{path} cannot be an output directory: {place}: {error.strerror}. Choose another one with --out; part of "
            "this path is a file, or lies where nothing can be created."
        )
    return None


def replace_file(path: Path, content: str | bytes) -> None:
    """Put `content` (text as UTF-8) at `path` in one step, creating its folders; the old file survives a failure.

    Args:
        path: the file; content: all that it is to hold.

    Raises:
        OSError: whatever the operating system says.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "new folder", "numbers.json")
        >>> replace_file(file, "[1, 2]")
        >>> file.read_text(), [other.name for other in file.parent.iterdir()]
        ('[1, 2]', ['numbers.json'])
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        if path.parent.is_dir():
            partial.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> Path:
    """`replace_file` for a file of an output directory. Returns the path.

    Args:
        path: the file; content: all that it is to hold.

    Raises:
        SelfrepError: a full disk, a missing permission, a path that cannot hold a file (see `writing`).

    Example:
        >>> import tempfile
        >>> write_file(Path(tempfile.mkdtemp(), "study.yaml"), "name: demo").read_text()
        'name: demo'
    """
    with writing(path):
        replace_file(path, content)
    return path
