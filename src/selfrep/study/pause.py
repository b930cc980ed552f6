"""When a run stops though it is not done: at a time that was set, or when it is told to by a signal.

A cluster ends a job at its limit. A run that knows of it before, by `--time-limit` or by a signal that the scheduler
sends in good time (`sbatch --signal=B:USR1@120`), finishes the block it is at, and the same command goes on from there.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from selfrep.errors import Paused, SelfrepError

SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGXCPU") if hasattr(signal, name))
"""What schedulers send before they end a job."""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Pause:
    """Whether a run is to stop.

    Args:
        seconds: after so many it is; None: whenever it is done.

    Example:
        >>> Pause().check()
        >>> Pause(0.0).check()
        Traceback (most recent call last):
        selfrep.errors.Paused: The time limit was reached: stopped after the block that was at work. ...
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._heard: str | None = None

    def hear(self, number: int, frame: FrameType | None = None) -> None:
        """A signal that tells the run to stop."""
        self._heard = signal.Signals(number).name

    @property
    def told(self) -> bool:
        """Whether a signal was heard."""
        return self._heard is not None

    def check(self) -> None:
        """Raises Paused where the run is to stop."""
        if self._end is not None and time.monotonic() >= self._end:
            raise Paused("The time limit was reached" + _STOPPED)
        if self._heard is not None:
            raise Paused(f"{self._heard} was received" + _STOPPED)


_STOPPED = ": stopped after the block that was at work. Nothing done is lost; the same command goes on from here."


@contextmanager
def pausing(seconds: float | None = None) -> Iterator[Pause]:
    """Inside the `with` block, signals of a scheduler are heard by the pause that it is given."""
    pause = Pause(seconds)
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, pause.hear) for number in SIGNALS} if main else {}
    try:
        yield pause
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def seconds_of(text: str) -> float:
    """A time as the command line takes it, in seconds.

    Raises:
        SelfrepError: no time.

    Example:
        >>> seconds_of("90"), seconds_of("1.5h"), seconds_of("1:55:00")
        (90.0, 5400.0, 6900.0)
    """
    if found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)", text.strip()):
        return float(found[1]) * _UNITS[found[2]]
    if found := re.fullmatch(r"(\d{1,6}):([0-5]?\d):([0-5]?\d)", text.strip()):
        return 3600.0 * int(found[1]) + 60 * int(found[2]) + int(found[3])
    raise SelfrepError(f"A time is given as 90s, 15m, 2h or 1:55:00; got {text[:60]!r}.")
