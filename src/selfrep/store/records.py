"""The small files of a run directory, as JSON: read with care, since anybody may have been at them."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfrep.errors import SelfrepError
from selfrep.files import write_file

LONGEST = 2**26
"""Bytes of a file that are read at most."""
SEAL = "sha256"


def text_of(file: Path) -> str:
    """The text of a file of a run directory.

    Raises:
        SelfrepError: a link, a pipe or another thing that is no file; too long; not UTF-8.

    Example:
        >>> text_of(Path("/dev/null"))
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: /dev/null must be a file of text; it is a device or a socket. ...
    """
    try:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"it is {_kind(found.st_mode)}")
        if found.st_size > LONGEST:
            raise ValueError(f"it has {found.st_size:,} bytes")
        return file.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise SelfrepError(f"{file} must be a file of text; {str(error)[:200]}. {MENDING}") from error


MENDING = (
    "Copy the run directory again, or run its study again with the same command, into another directory if need be."
)


def _kind(mode: int) -> str:
    kinds = {"a link": stat.S_ISLNK, "a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO}
    return next((name for name, test in kinds.items() if test(mode)), "a device or a socket")


def json_of(file: Path) -> Any:
    """The JSON of a file of a run directory.

    Raises:
        SelfrepError: no JSON, or as `text_of`.
    """
    text = text_of(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SelfrepError(f"{file} is no JSON ({str(error)[:200]}). {MENDING}") from error


def sealed_of(file: Path) -> dict[str, Any]:
    """A record that `write_sealed` wrote, without its checksum.

    Raises:
        SelfrepError: it is not what was written, or as `json_of`.
    """
    record = json_of(file)
    if not isinstance(record, dict) or record.pop(SEAL, None) != _digest(record):
        raise SelfrepError(f"{file} is not what was written: it is damaged, or was changed. {MENDING}")
    return record


def write_sealed(file: Path, record: Mapping[str, Any], text: str) -> None:
    """Write a record with its checksum.

    Args:
        record: plain JSON values; text: the same as JSON, as it is to look.

    Raises:
        SelfrepError: the file cannot be written.
    """
    body = text.rstrip().removesuffix("}").rstrip()
    write_file(file, f'{body}{"," if record else ""}\n  "{SEAL}": "{_digest(record)}"\n}}\n')


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def digest_of(text: str) -> str:
    """sha256 of a text.

    Example:
        >>> digest_of("")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(text.encode()).hexdigest()
