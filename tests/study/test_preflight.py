"""What can be known before weights are loaded is told before, and all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.models.loading import load_model
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.prompts.answers import REMEDY
from selfrep.prompts.yaml_errors import Mistakes
from selfrep.study import run as running
from selfrep.study.forecast import forecast
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
    asked = study(f'battery: {{file: "{BATTERY}"}}\nseparation: {{item: who_are_you, layers: [0, 5]}}')
    cleared = preflight(asked)
    assert cleared.study == asked
    assert cleared.known is not None
    assert cleared.known.n_layers == 6


def test_a_model_that_is_loaded_is_not_looked_for() -> None:
    lm = load_model("organism:separate", device="cpu")
    cleared = preflight(study(f'battery: {{file: "{BATTERY}"}}').model_copy(update={"model": "no/such"}), model=lm)
    assert cleared.known is not None
    assert cleared.known.tokenizer is lm.tokenizer


def test_mistakes_of_every_kind_are_told_at_once() -> None:
    wrong = {"dtype": "float8", "attn": "spda", "device_map": "ballanced", "template_vars": {"date_string": "today"}}
    with pytest.raises(Mistakes) as told:
        preflight(study(WRONG), device="tpu", **wrong)
    places = [mistake.place for mistake in told.value.mistakes]
    assert places == [("dtype",), ("device",), ("device_map",), ("attn",), ("chat_template",)]
    with pytest.raises(Mistakes) as told:
        preflight(study(WRONG), device="tpu", dtype="float8")
    assert [mistake.place[0] for mistake in told.value.mistakes] == ["dtype", "device", "default_axis", "separation"]
    with pytest.raises(Mistakes) as told:
        preflight(study(WRONG), model="./no-such-folder", attn="spda")
    assert [mistake.place[0] for mistake in told.value.mistakes] == ["attn", "model"]


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


def test_what_falls_away_is_told_before_anything_runs() -> None:
    right = WRONG.replace("[2, 6]", "[2, 5]").replace("[-1]", "[0]")
    left_out = preflight(study(right)).left_out
    assert left_out[0].startswith("battery › long falls away: only 0 of the 1 answers of the side 'a' can be read")
    assert left_out[1:] == [REMEDY]
    assert forecast(study(right)).left_out.splitlines() == left_out
    whole = f'battery: {{file: "{BATTERY}"}}\nseparation: {{item: who_are_you, layers: [0, 5]}}'
    assert preflight(study(whole)).left_out == []


def test_a_study_without_an_item_that_can_be_read_is_refused() -> None:
    nothing = "battery: {define: {same: {question: who are you, prefill: '', perspective: in_character, answers: "
    with pytest.raises(SelfrepError, match=r"None of the 1 items of mine.*\s+battery › same: .*both sides"):
        preflight(study(nothing + '{a: [" machine"], b: [" MACHINE"]}}}}'))


def test_what_is_foretold_is_read_after_words_of_its_own() -> None:
    form = 'form: {question: "{} {} guess", prefill: "{}PREFILL"}'
    text = f'battery: {{file: "{BATTERY}"}}\nspectator: {{items: [who_are_you], {form}}}'
    assert preflight(study(text.replace("PREFILL", ""))).known is not None
    with pytest.raises(SelfrepError, match=r"spectator: who_are_you: After 'mach' only \d of"):
        preflight(study(text.replace("PREFILL", "mach")))


def test_a_run_is_refused_before_anything_is_written_or_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("selfrep.study.job.load_model", load)
    for wrong in ({}, {"attn": "spda"}, {"device_map": "auto"}, {"device": "tpu"}, {"dtype": "float8"}):
        with pytest.raises(Mistakes) as told:
            running.run(study(WRONG), tmp_path / "out", **wrong)
        assert [mistake.place[0] for mistake in told.value.mistakes] == [*wrong, "default_axis", "separation"]
        with pytest.raises(Mistakes, match=str(told.value).splitlines()[0]):
            forecast(study(WRONG), tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
