"""Files of the Hugging Face cache are named after what is in them, so that a damaged one is known without a network.

A snapshot consists of links to files whose names are hashes: sha256 for weights and other large files, git's own hash
for small ones. Whoever made the cache without links (as on Windows) kept no such names, and nothing can be compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from selfrep.errors import SelfrepError
from selfrep.models import cache

_LARGE, _SMALL = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")


def require_as_published(files: Iterable[Path]) -> None:
    """Refuse files of the Hugging Face cache that are not what the hub gave. Others are not looked at.

    Raises:
        SelfrepError: it names the files, and how to fetch them again.

    Example:
        >>> require_as_published([Path("config.json")])
    """
    hashes = {file: name for file in files if (name := published_hash(file))}
    digests = cache.file_sha256s(file for file, name in hashes.items() if _LARGE.fullmatch(name))
    digests |= {file: _git_hash(file) for file in hashes if file not in digests}
    if damaged := sorted(file for file, name in hashes.items() if digests[file] != name):
        raise SelfrepError(
            f"Files of the Hugging Face cache must be what the hub published; in {damaged[0].parent} these are damaged "
            f"or changed: {', '.join(file.name for file in damaged)}. Delete {damaged[0].resolve()}"
            f"{' and the others' if len(damaged) > 1 else ''}, and run the same command again: they are fetched anew."
        )


def published_hash(file: Path) -> str | None:
    """The hash that a file of the Hugging Face cache should have, from its name; None for any other file.

    Example:
        >>> published_hash(Path("config.json")) is None
        True
    """
    if not file.is_symlink():
        return None
    blob = file.resolve()
    named = _LARGE.fullmatch(blob.name) or _SMALL.fullmatch(blob.name)
    return blob.name if named and blob.parent.name == "blobs" and blob.is_file() else None


def _git_hash(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
