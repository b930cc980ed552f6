"""A log with time stamps, for runs that nobody watches: when each stage began, how far it is, and how the run ended."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selfrep.files import writing
from selfrep.harmless import for_terminal

LOG = logging.getLogger("selfrep.cli")
LOG.propagate = False  # it is the command's own: a program that uses selfrep as a library hears nothing
LOG.addHandler(logging.NullHandler())
EVERY = 10.0
"""Seconds between two lines of one stage."""


@contextmanager
def logged(file: Path | None, *, verbose: bool = False) -> Iterator[None]:
    """Inside the `with` block, what a command does is written to a file, after what is there, and said if `verbose`.

    Raises:
        SelfrepError: a file that cannot be written.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if verbose else []
    if file is not None:
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S%z"))
        LOG.addHandler(handler)
    before = LOG.level
    LOG.setLevel(logging.INFO)
    try:
        LOG.info("began: selfrep %s", for_terminal(" ".join(sys.argv[1:])))
        yield
        LOG.info("ended well")
    except BaseException as error:
        told = str(error) if isinstance(error, Exception) else ""
        LOG.error("ended: %s", for_terminal(told or type(error).__name__))
        raise
    finally:
        LOG.setLevel(before)
        for handler in handlers:
            LOG.removeHandler(handler)
            handler.close()


class Stages:
    """Notes in the log how far the stages of a run are."""

    def __init__(self) -> None:
        self._stage, self._said = "", float("-inf")

    def __call__(self, stage: str, done: float | int, total: float | int) -> None:
        """As a progress function."""
        now = time.monotonic()
        if stage == self._stage and now - self._said < EVERY:
            return
        self._stage, self._said = stage, now
        LOG.info("%4.0f%% %s", 100 * (done / total if total else 1.0), for_terminal(stage))
