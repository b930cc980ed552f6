"""Whatever ends the command ends it with a code that shells know, and a sentence."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from selfrep.cli.ending import Stopped, ending
from selfrep.errors import SelfrepError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SelfrepError("The rule."), "The rule."),
        (OSError(errno.ESTALE, "Stale file handle", "out/x"), "out/x does not answer"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), "disk is full"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (MemoryError(), "not enough memory"),
        (SystemError("error return without exception set"), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), "not enough memory"),
    ],
)
def test_what_a_user_can_mend_is_said_and_ends_with_2(
    error: Exception, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, ending():
        raise error
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("selfrep: ")
    assert words in told


@pytest.mark.parametrize(
    "error", [OSError(errno.EINVAL, "Invalid argument"), RuntimeError("a mistake"), KeyError("x"), SystemError("x")]
)
def test_a_mistake_of_selfrep_is_not_dressed_up(error: Exception) -> None:
    with pytest.raises(type(error)), ending():
        raise error


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_order_and_a_second_one_at_once(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cleared = list[bool]()

    @contextmanager
    def clearing() -> Iterator[None]:
        try:
            yield
        finally:
            cleared.append(signal.getsignal(number) == signal.SIG_DFL)

    with pytest.raises(Stopped) as ended, ending(), clearing():
        signal.raise_signal(number)
    assert ended.value.code == code
    assert cleared == [True], "what stands open is closed, and by then a second signal kills"
    assert "run the same command again" in capsys.readouterr().err
    assert signal.getsignal(number) == signal.SIG_DFL, "until the process has ended"


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ending():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


CODE = """
import sys, typer
from selfrep.cli.ending import ending
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
def say():
    for _ in range(int(sys.argv[1])):
        typer.echo("→ a line")
with ending():
    app([])
"""


def test_a_reader_who_leaves_ends_it_without_a_word() -> None:
    shell = f'set -o pipefail; "{sys.executable}" -c "$CODE" 20000 | head -1'
    done = subprocess.run(
        ["bash", "-c", shell], env={**os.environ, "CODE": CODE}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, "→ a line\n", "")


def test_a_terminal_of_another_encoding_is_no_reason_to_stop() -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    bare = "print('\u2192')"
    code = f"from selfrep.cli.ending import ending\nwith ending(): {bare}"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"\\u2192\n")
    control = subprocess.run([sys.executable, "-c", bare], env=env, capture_output=True, check=False)
    assert b"UnicodeEncodeError" in control.stderr, "the control"


def test_a_code_of_its_own_is_kept() -> None:
    with pytest.raises(SystemExit) as ended, ending():
        raise SystemExit(3)
    assert ended.value.code == 3
