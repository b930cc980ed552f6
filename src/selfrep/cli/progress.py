"""How far a command is, and what could not be done: on standard error, beside what the command says."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from selfrep.cli.log import LOG, Stages
from selfrep.harmless import escape, for_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from selfrep.study.run import OnProgress


def warn(message: str) -> None:
    """Say what could not be done, and how to mend it."""
    LOG.warning(for_terminal(message))
    print(f"selfrep: {for_terminal(message)}", file=sys.stderr)  # noqa: T201


@contextmanager
def progress() -> Iterator[OnProgress]:
    """One bar for the whole command, naming the stage, with an estimate of what is left; in a log, a line a stage."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left:"),
        TimeRemainingColumn(),
    )  # fmt: skip
    console, note = _stderr(), Stages()
    if any(type(handler) is logging.StreamHandler for handler in LOG.handlers):
        yield note  # what is said has time stamps, and stands for the bar
        return
    if not console.is_terminal:
        yield _line_by_line(note)
        return
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("starting", total=None)

        def update(stage: str, done: float, total: float) -> None:
            note(stage, done, total)
            bar.update(task, description=escape(stage), completed=done, total=total)

        yield update


def _line_by_line(note: OnProgress) -> OnProgress:
    """What a batch script's log shall hold: when each stage began, and how much was done by then."""
    started, said = time.monotonic(), [""]

    def update(stage: str, done: float, total: float) -> None:
        note(stage, done, total)
        if stage != said[0]:
            said[0] = stage
            minutes, seconds = divmod(round(time.monotonic() - started), 60)
            share = done / total if total else 1.0
            print(f"{minutes:3d}:{seconds:02d} {share:4.0%} {for_terminal(stage)}", file=sys.stderr, flush=True)  # noqa: T201

    return update


def _stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)
