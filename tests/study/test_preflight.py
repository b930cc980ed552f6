"""What can be known before weights are loaded is told before, and all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.study import run as running
from selfrep.study.preflight import preflight
from selfrep.study.study import Study, loads

MATERIAL = f"""
name: mine
model: organism:separate
personas: {{file: "{PERSONAS}"}}
"""


def study(text: str) -> Study:
    return loads(MATERIAL + text)


def test_a_study_that_can_run_is_let_through() -> None:
    known = preflight(study(f'battery: {{file: "{BATTERY}"}}\nseparation: {{item: who_are_you, layers: [0, 5]}}'))
    assert known is not None
    assert known.n_layers == 6


WRONG = """
battery:
  define:
    long: {question: who are you, prefill: "", perspective: in_character, answers: {a: [" mill shop"], b: [" human"]}}
    fine: {question: who are you, prefill: "", perspective: in_character, answers: {a: [" machine"], b: [" human"]}}
separation: {item: fine, layers: [2, 6]}
default_axis: {item: fine, layers: [-1]}
"""


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SelfrepError) as told:
        preflight(study(WRONG))
    text = str(told.value)
    assert "mine, asked of organism:separate: 2 mistakes" in text
    assert "separation: layers are 0 to 5 in this model; got 6" in text
    assert "default_axis: layers are 0 to 5 in this model; got -1" in text
    assert "long" not in text, "an item that cannot be read falls away, and the study goes on"


def test_a_study_without_an_item_that_can_be_read_is_refused() -> None:
    nothing = "battery: {define: {same: {question: who are you, prefill: '', perspective: in_character, answers: "
    with pytest.raises(SelfrepError, match=r"None of the 1 items of mine.*\s+battery › same: .*both sides"):
        preflight(study(nothing + '{a: [" machine"], b: [" MACHINE"]}}}}'))


def test_what_is_foretold_is_read_after_words_of_its_own() -> None:
    form = 'form: {question: "{} {} guess", prefill: "{}PREFILL"}'
    text = f'battery: {{file: "{BATTERY}"}}\nspectator: {{items: [who_are_you], {form}}}'
    assert preflight(study(text.replace("PREFILL", ""))) is not None
    with pytest.raises(SelfrepError, match=r"spectator: who_are_you: After 'mach' only \d of"):
        preflight(study(text.replace("PREFILL", "mach")))


def test_a_run_is_refused_before_anything_is_written_or_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("selfrep.study.job.load_model", load)
    with pytest.raises(SelfrepError, match="2 mistakes"):
        running.run(study(WRONG), tmp_path / "out")
    assert not (tmp_path / "out").exists()
