"""Progress is a bar, a function, or nothing; and every verb takes all of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import ClassVar

import pytest
import tqdm.auto
from tests.engine.conftest import Talker
from tests.tiny import tiny, token_pair

import selfrep as sr
from selfrep.engine.plan import grid
from selfrep.engine.progress import stages_shown, ticker
from selfrep.engine.replay import prefix_sharing
from selfrep.prompts.prompt import Prompt


class Bar:
    """A bar that remembers what it was told."""

    drawn: ClassVar[list[Bar]] = []

    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.n, self.steps, self.is_closed = total, unit, 0, 0, False
        self.drawn.append(self)

    def update(self, more: int) -> None:
        self.n += more
        self.steps += 1

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    Bar.drawn.clear()
    return Bar.drawn


def test_a_bar_comes_with_the_first_tick_and_goes_with_the_last(bars: list[Bar]) -> None:
    tick = ticker(True, "run")
    assert not bars
    tick(2, 10)
    tick(7, 10)
    assert [(bar.n, bar.total, bar.unit, bar.is_closed) for bar in bars] == [(7, 10, "run", False)]
    tick(10, 10)
    assert (bars[0].n, bars[0].is_closed) == (10, True)


@pytest.mark.parametrize("progress", [None, False])
def test_silence_draws_nothing(progress: bool | None, bars: list[Bar]) -> None:
    ticker(progress, "run")(1, 1)
    assert not bars


def test_a_function_is_called_as_it_is(bars: list[Bar]) -> None:
    ticks: list[tuple[int, int]] = []
    ticker(lambda done, total: ticks.append((done, total)), "run")(3, 4)
    assert (ticks, bars) == ([(3, 4)], [])


def test_a_real_bar_is_written_to_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    tick = ticker(True, "run")
    for done in (1, 2):
        tick(done, 2)
    assert "2/2" in capsys.readouterr().err


PAIRS = [token_pair(k) for k in range(3)]
ASKED = [Prompt(system=f"You are {who}.", turns=("Who are you?",), prefill="I am a", answers=((" robot",), (" nurse",)))
         for who in ("a nurse", "a robot", "Toy", "a person")]  # fmt: skip
VERBS: dict[str, Callable[..., object]] = {
    "patch": lambda lm, **how: sr.patch(tiny(), PAIRS, grid("resid_pre", layers=[0, 1]), batch_size=1, **how),
    "attribute": lambda lm, **how: sr.attribute(tiny(), PAIRS, grid("resid_pre"), batch_size=1, **how),
    "screen": lambda lm, **how: sr.screen(tiny(), PAIRS, grid("resid_pre"), **how),
    "capture": lambda lm, **how: sr.capture(lm, ASKED, **how),
    "score": lambda lm, **how: sr.score(lm, ASKED, **how),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_every_verb_ticks_within_and_ends_with_all(
    verb: Callable[..., object], bars: list[Bar], talker: Talker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prefix_sharing.PASS_TOKENS, "cpu", 20)
    ticks: list[tuple[int, int]] = []
    verb(talker(), progress=lambda *at: ticks.append(at))
    assert ticks[-1][0] == ticks[-1][1] == max(done for done, _ in ticks)
    assert len({done for done, _ in ticks}) > 1, "the control: it ticks on the way"
    verb(talker(), progress=True)
    assert [(bar.n, bar.is_closed) for bar in bars] == [(bars[0].total, True)]
    assert bars[0].steps > 1
    verb(talker())
    assert len(bars) == 1


def test_a_study_has_one_bar_that_names_its_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with stages_shown(True) as tick:
        tick("answers", 0, 4)
        tick("patching", 3, 4)
        tick("done", 4, 4)
    shown = capsys.readouterr().err
    assert "done: 100%" in shown
    heard: list[tuple[str, float, float]] = []
    with stages_shown(lambda *what: heard.append(what)) as tick:
        tick("answers", 0, 4)
    assert heard == [("answers", 0, 4)]
    with stages_shown(None) as tick:
        tick("answers", 0, 4)
    assert capsys.readouterr().err == "", "the control"


def test_a_notebook_has_a_bar_of_its_own() -> None:
    """tqdm chooses when it is imported: the plain bar here, widgets where a kernel of Jupyter runs."""
    code = """
import sys
if sys.argv[1] == "jupyter":
    import ipykernel.zmqshell  # the shell of a kernel, by which tqdm knows one
import selfrep.engine.progress
from tqdm.auto import tqdm
print(any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__))
"""
    chosen = [
        subprocess.run([sys.executable, "-c", code, where], capture_output=True, text=True, check=False)
        for where in ("jupyter", "terminal")
    ]
    assert [one.stdout.strip() for one in chosen] == ["True", "False"], chosen
