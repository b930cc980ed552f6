"""A run stops between two blocks when its time is over, or a scheduler says so; and only then."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from selfrep.errors import Paused, SelfrepError
from selfrep.study.pause import SIGNALS, Pause, pausing, seconds_of


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_of_a_scheduler_is_heard_and_what_was_there_before_comes_back(number: int) -> None:
    before = signal.getsignal(number)
    with pausing() as pause:
        pause.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Paused, match=f"{signal.Signals(number).name} was received.*same command goes on"):
            pause.check()
    assert signal.getsignal(number) == before


def test_the_time_is_over_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("selfrep.study.pause.time.monotonic", lambda: clock[0])
    limited, free = Pause(60.0), Pause()
    clock[0] = 159.9
    limited.check()
    clock[0] = 160.0
    with pytest.raises(Paused, match="time limit was reached"):
        limited.check()
    free.check()


def test_in_another_thread_signals_are_left_alone() -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with pausing(0.0) as pause:
                pause.check()
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(error) for error in raised] == [Paused]


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("90s", 90), ("15m", 900), ("0.5 h", 1800), ("1:02:03", 3723), ("48:00:00", 172800)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "1:99:00", "5d", "9" * 40])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SelfrepError, match="A time is given as 90s, 15m, 2h or 1:55:00"):
        seconds_of(text)
