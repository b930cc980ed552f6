"""How the command ends, whatever ends it: with one message that says what to do, and the code that shells expect.

0 when it has done what was asked; 2 when a user can mend what is wrong; 75 when it stopped between two blocks, as a
time limit or a scheduler told it to; 130 and 143 when it was told to stop at once (Ctrl-C, `kill`); 141 when nobody
reads on (`| head -1`). What was being written is cleared away first. A second Ctrl-C ends it without that; the next run
then clears what is left.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from selfrep.errors import PAUSED, Paused, SelfrepError
from selfrep.files import explain
from selfrep.harmless import for_terminal

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_MEMORY = ("can't allocate memory", "out of memory", "failed to map segment", "bad_alloc", "can't start new thread",
           "error return without exception set")  # fmt: skip
"""What libraries say who find no memory, in errors of many kinds."""


class Stopped(SystemExit):
    """The command was told to stop."""


@contextmanager
def ending() -> Iterator[None]:
    """Inside the `with` block, whatever stops the command ends it in order.

    Raises:
        SystemExit: with the code; what there is to say is on standard error by then.

    Example:
        >>> try:
        ...     with ending():
        ...         raise SelfrepError("A rule, and the fix.")
        ... except SystemExit as end:
        ...     end.code
        2
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal in another encoding is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Signals that were ignored before (by nohup, or for a command in the background) stay so.
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, _stop) for number in heard} if main else {}
    try:
        yield
    except SelfrepError as error:
        _say_last(error)
        raise SystemExit(PAUSED if isinstance(error, Paused) else 2) from None
    except Stopped:
        _say("stopped; run the same command again to go on from here.")
        before.clear()  # the process ends now: a second Ctrl-C must not raise while Python shuts down
        raise
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # typer and rich make code 1 of it
            if sys.__stdout__ is not None:  # else Python complains of it when it ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
            raise SystemExit(141) from None
        raise
    except (OSError, MemoryError, RuntimeError, ImportError, SystemError) as error:
        if (message := _of_the_machine(error)) is None:
            raise
        _say_last(message)
        raise SystemExit(2) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_DFL)  # whoever asks twice does not want to wait
    raise Stopped(128 + number)


def _say(message: object) -> None:
    print(f"selfrep: {for_terminal(message)}", file=sys.stderr)  # noqa: T201


def _say_last(message: object) -> None:
    """Say it, and nothing after it: what is half made complains as it goes."""
    _say(message)
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")


def _of_the_machine(error: BaseException) -> str | None:
    """What the machine lacks, in words; None for an error that is nobody's but selfrep's."""
    if isinstance(error, OSError) and (message := explain(error)):
        return message
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _MEMORY):
        return (
            f"There is not enough memory ({str(error).splitlines()[0][:200] if str(error) else 'none was left'}). "
            "What was finished before is kept. Close other programs, raise the limit (ulimit -v), take a smaller model "
            "or dtype bfloat16; then run the same command again: it takes up where it stopped."
        )
    return None
