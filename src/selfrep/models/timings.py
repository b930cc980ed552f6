"""What was measured of this machine, kept: what is chosen by it is chosen alike by every process, and once.

Which of two libraries is quicker, or how large a chunk suits a device, changes the rounding of last digits. Were it
measured anew by each process, a run that goes on, or workers side by side, would not give the bits of a run in one go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import filelock

from selfrep.errors import SelfrepError
from selfrep.models.cache import cache_folder, write_json

PATIENCE = 60.0
"""Seconds to wait for another process that measures the same."""


def kept(key: Sequence[object], measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What was measured for a key: read from the cache folder, or measured now and kept there.

    Where two processes ask at once, one measures and the other waits for it. Where nothing can be kept, it is measured.

    Args:
        key: all that it depends on; measure: gives it, as JSON.

    Example:
        >>> import os, tempfile
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, SELFREP_CACHE=tempfile.mkdtemp()):
        ...     kept(["example"], lambda: {"seconds": 1.5}), kept(["example"], lambda: {"seconds": 9.5})
        ({'seconds': 1.5}, {'seconds': 1.5})
    """
    name = hashlib.sha256(json.dumps(list(map(str, key))).encode()).hexdigest()[:24]
    try:
        file = cache_folder() / "timings" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, SelfrepError):  # no home, or one that is read-only
        return dict(measure())
    with ExitStack() as stack:
        with suppress(OSError, filelock.Timeout, NotImplementedError):  # then two may measure
            stack.enter_context(filelock.FileLock(file.with_suffix(".lock"), timeout=PATIENCE))
        if (known := _read(file)) is not None:
            return known
        measured = dict(measure())
        with suppress(OSError):  # a full disk: it is measured again next time
            write_json(file, {"of": list(map(str, key)), "measured": measured})
        return measured


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(file.read_text("utf-8"))["measured"])
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged
        return None
