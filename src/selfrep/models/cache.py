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
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import platformdirs
from tqdm import tqdm

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

    Raises:
        SelfrepError: a user without a home.

    Example:
        >>> cache_folder().is_absolute()
        True
    """
    if override := os.environ.get("SELFREP_CACHE"):
        return Path(override).expanduser().absolute()
    try:
        return platformdirs.user_cache_path("selfrep", appauthor=False)
    except (
        RuntimeError
    ) as error:  # HOME is not set, and the user has no name; a folder that anybody may fill is no place
        raise SelfrepError(
            "A cache lies in the home of its user, and there is none. Set HOME, or SELFREP_CACHE to a folder of yours."
        ) from error


def models_folder() -> Path:
    """Where converted models are, one folder each, named by the first digits of their source's sha256.

    Example:
        >>> models_folder().name
        'models'
    """
    return cache_folder() / "models"


def file_sha256(path: Path) -> str:
    """sha256 of a file: read when a process first asks, and again when the file has changed since.

    Nothing on disk remembers it: a byte that flips on a failing disk leaves size and times as they were.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "weights")
        >>> _ = file.write_bytes(b"weights")
        >>> file_sha256(file) == read_sha256(file)
        True
    """
    return file_sha256s([path])[path]


def file_sha256s(paths: Iterable[Path]) -> dict[Path, str]:
    """`file_sha256` of several files, read at once; a bar tells how far it is where that takes long.

    Example:
        >>> file_sha256s([])
        {}
    """
    stamps = {path: _stamp(path) for path in paths}
    unread = {stamp: path for path, stamp in stamps.items() if stamp not in _digests}
    size = sum(stamp.size for stamp in unread)
    # None: shown where somebody looks at a terminal.
    bar = tqdm(total=size, unit="B", unit_scale=True, desc="verifying", disable=None if size > LONG else True)
    with bar, ThreadPoolExecutor(max_workers=4) as pool:  # one core makes 1.8 GB a second of it, a disk several
        _digests.update(zip(unread, pool.map(partial(read_sha256, read=bar.update), unread.values()), strict=True))
    return {path: _digests[stamp] for path, stamp in stamps.items()}


class _Stamp(NamedTuple):
    """What changes when a file does while a process runs; nobody sets the time of a change of the inode (ctime)."""

    place: Path
    inode: int
    size: int
    modified: int
    changed: int


_digests: dict[_Stamp, str] = {}
LONG = 2 * 10**9
"""Bytes from which on reading takes so long that a bar shows how far it is."""


def _stamp(path: Path) -> _Stamp:
    real = path.resolve()
    stat = real.stat()
    return _Stamp(real, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def read_sha256(path: Path, read: Callable[[int], object] = lambda n: None) -> str:
    """sha256 of a file, read now; `read` hears of each part how many bytes it has.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "empty")
        >>> file.touch()
        >>> read_sha256(file)[:8]
        'e3b0c442'
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(2**20))
    with path.open("rb", buffering=0) as stream:
        while n := stream.readinto(buffer):
            digest.update(buffer[:n])
            read(n)
    return digest.hexdigest()


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
    digests = file_sha256s(folder / name for name in record.files if (folder / name).is_file())
    return [name for name, digest in sorted(record.files.items()) if digests.get(folder / name) != digest]


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
