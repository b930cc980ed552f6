"""The small files of a run directory, as JSON: read with care, since anybody may have been at them."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfrep import digests
from selfrep.errors import SelfrepError
from selfrep.files import write_file

LONGEST = 2**26
"""Bytes of a file that are read at most."""
SEAL = "sha256"


def text_of(file: Path, most: int | None = None) -> str:
    """The text of a file of a run directory, which may have so many bytes (None: `LONGEST`).

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
        if found.st_size > (LONGEST if most is None else most):
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


def json_of(file: Path, most: int | None = None) -> Any:
    """The JSON of a file of a run directory, which may have so many bytes (see `text_of`).

    Raises:
        SelfrepError: no JSON, or as `text_of`.
    """
    text = text_of(file, most)
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
    if not isinstance(record, dict) or record.pop(SEAL, None) != digests.of_json(record):
        raise SelfrepError(f"{file} is not what was written: it is damaged, or was changed. {MENDING}")
    return record


def write_sealed(file: Path, record: Mapping[str, Any]) -> None:
    """Write a record of plain JSON values with its checksum.

    Raises:
        SelfrepError: the file cannot be written.
    """
    sealed = {**record, SEAL: digests.of_json(record)}
    write_file(file, json.dumps(sealed, indent=2, ensure_ascii=False) + "\n")
