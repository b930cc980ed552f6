"""The folder where converted weights are kept, and the checks that keep it trustworthy.

A conversion takes long. It should happen once, and meanwhile its process may be killed, or a second one may start. So a
converted model is built in a folder beside its final place, under a lock, and moved there in one step with a record of
every file's sha256. A folder whose files do not match its record is never used: it is built anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from selfrep.errors import SelfrepError
from selfrep.files import replace_file

RECORD = "selfrep.json"


@dataclass(frozen=True)
class Record:
    """The contents of a converted folder, as its `selfrep.json` has them.

    Fields:
        name: of the model; source_sha256: of the file from which it was converted.
        weights_sha256: see `selfrep.models.folders.weights_hash`.
        files: name → sha256; versions: package → version, of the converters.

    Example:
        >>> Record("tiny", "ab12", "cd34", {"model.safetensors": "cd34"}, {"torch": "2.9"}).name
        'tiny'
    """

    name: str
    source_sha256: str
    weights_sha256: str
    files: dict[str, str]
    versions: dict[str, str]


def cache_folder() -> Path:
    """Where selfrep keeps converted models: `$SELFREP_CACHE`, else the user's cache folder of the operating system.

    Example:
        >>> cache_folder().is_absolute()
        True
    """
    if override := os.environ.get("SELFREP_CACHE"):
        return Path(override).expanduser().absolute()
    return platformdirs.user_cache_path("selfrep", appauthor=False)


def models_folder() -> Path:
    """Where converted models are, one folder each, named by the first digits of their source's sha256.

    Example:
        >>> models_folder().name
        'models'
    """
    return cache_folder() / "models"


def file_sha256(path: Path) -> str:
    """sha256 of a file, remembered until its size or modification time changes, so that gigabytes are read once.

    Example:
        >>> import tempfile
        >>> from unittest.mock import patch
        >>> file = Path(tempfile.mkdtemp(), "weights")
        >>> _ = file.write_bytes(b"weights")
        >>> with patch.dict(os.environ, SELFREP_CACHE=tempfile.mkdtemp()):
        ...     file_sha256(file) == read_sha256(file)
        True
    """
    real = path.resolve()
    stat = real.stat()
    stamp = [stat.st_size, stat.st_mtime_ns]
    memo = cache_folder() / "digests" / (hashlib.sha256(str(real).encode()).hexdigest()[:32] + ".json")
    known = _read_json(memo)
    if known.get("stamp") == stamp and "sha256" in known:
        return str(known["sha256"])
    digest = read_sha256(real)
    # A memory aid only: on a read-only disk the file is simply read again next time.
    with contextlib.suppress(OSError):
        write_json(memo, {"path": str(real), "stamp": stamp, "sha256": digest})
    return digest


def read_sha256(path: Path) -> str:
    """sha256 of a file, read now.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "empty")
        >>> file.touch()
        >>> read_sha256(file)[:8]
        'e3b0c442'
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_record(folder: Path) -> Record | None:
    """The record of a converted folder; None where there is none, or none that can be read.

    Example:
        >>> import tempfile
        >>> read_record(Path(tempfile.mkdtemp())) is None
        True
    """
    try:
        return Record(**_read_json(folder / RECORD))
    except TypeError:  # none, or written by another version, or by somebody else
        return None


def damaged_files(folder: Path, record: Record) -> list[str]:
    """Names of the files that are missing, or differ from the record.

    Example:
        >>> import tempfile
        >>> damaged_files(Path(tempfile.mkdtemp()), Record("tiny", "", "", {"model.safetensors": "cd34"}, {}))
        ['model.safetensors']
    """
    return [
        name
        for name, digest in sorted(record.files.items())
        if not (folder / name).is_file() or file_sha256(folder / name) != digest
    ]


def intact(folder: Path) -> bool:
    """Whether a converted folder is complete and unchanged since it was written.

    Example:
        >>> import tempfile
        >>> intact(Path(tempfile.mkdtemp()))
        False
    """
    record = read_record(folder)
    return record is not None and not damaged_files(folder, record)


def build_once(key: str, build: Callable[[Path], Record]) -> Path:
    """The intact folder `key` of the cache, made by `build` if there is none.

    Safe when several processes start at once (one builds, the others wait and use its result), and when one is killed:
    the next removes its remains.

    Args:
        key: the folder's name; build: fills the empty folder that it is given, and returns its record.

    Raises:
        SelfrepError: the cache folder cannot be written.

    Example:
        >>> import tempfile
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, SELFREP_CACHE=tempfile.mkdtemp()):
        ...     folder = build_once("example", lambda folder: Record("example", "", "", {}, {}))
        >>> folder.name, intact(folder)
        ('example', True)
    """
    final = models_folder() / key
    if intact(final):
        return final
    with _lock(key):
        if intact(final):  # another process built it while this one waited
            return final
        for leftover in models_folder().glob(f".{key}.*"):  # the lock is ours, so whoever made these is gone
            shutil.rmtree(leftover)
        shutil.rmtree(final, ignore_errors=True)
        partial = models_folder() / f".{key}.{os.getpid()}"
        partial.mkdir()
        try:
            record = build(partial)
            write_json(partial / RECORD, asdict(record))
            os.replace(partial, final)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return final


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, so that a reader sees the old file or the new one, never half of it.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "sizes.json")
        >>> write_json(file, {"layers": 6})
        >>> json.loads(file.read_text())
        {'layers': 6}
    """
    replace_file(path, json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def _lock(key: str) -> Iterator[None]:
    # The system drops a file lock with the process that holds it, so a killed run blocks nobody.
    locks = cache_folder() / "locks"
    try:
        for folder in (locks, models_folder()):
            folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(locks / f"{key}.lock"):
            yield
    except OSError as error:
        raise SelfrepError(
            f"The model cache must be a folder that can be written, with room for the converted weights; "
            f"{cache_folder()} gave: {error}. Free some space, or set SELFREP_CACHE to another folder."
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent, or cut short: the same as unknown
        return {}
    return content if isinstance(content, dict) else {}
