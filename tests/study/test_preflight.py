"""What can be known before weights are loaded is told before, and all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.models.organisms import ANOMALIES, BATTERY, PERSONAS, SCENARIOS
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


FACTS = """
facts:
  tea: {statement: "the cup holds {}", question: What is in it, prefill: "", answers: {tea: [human], milk: [machine]}}
"""
EVERYTHING = """
battery: {file: BATTERY}
scenarios: {file: scenarios.yaml}
anomaly: {file: anomalies.yaml}
mediation: {layer: 2}
directness: {}
spectator: {items: [who_are_you]}
transfer:
  pairs: [[sailor, robot]]
  items: [who_are_you]
  facts: {file: facts.yaml}
  sweeps: [{site: resid_pre, by: segment, controls: [fact]}]
"""


def test_answers_are_checked_wherever_any_are_read(tmp_path: Path) -> None:
    texts = {"scenarios": SCENARIOS.read_text(), "anomalies": ANOMALIES.read_text(), "facts": FACTS}
    described = MATERIAL + EVERYTHING.replace("BATTERY", f'"{BATTERY}"')

    def refusal() -> str:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(SelfrepError) as told:
            preflight(loads(described, folder=tmp_path))
        return str(told.value)

    whole = dict(texts)
    texts["scenarios"] = texts["scenarios"].replace("[resist, refuse]", "[resist, mill shop]", 1)
    texts["scenarios"] = texts["scenarios"].replace("[overlord, terminator]", "[overlord, mill shop]", 1)
    texts["anomalies"] = texts["anomalies"].replace("[strange, odd]", "[strange, mill shop]", 1)
    texts["facts"] = FACTS.replace("[human]", "[mill shop]")
    assert all(texts[name] != whole[name] for name in texts)
    told = refusal()
    for place in (
        "scenarios › overlord_or_assistant",
        "scenarios › subspaces › P › proof",
        "anomaly › items › out_of_place › persona",
        "anomaly › items › out_of_place › spectator",
        "transfer › facts › tea",
    ):
        assert told.count(f"  {place}: Each answer must be a single token") == 1  # by whichever analyses it is read
    assert "battery" not in told

    texts |= whole
    described = described.replace("layer: 2", "layer: 6")
    assert refusal().endswith("1 mistake\n  mediation: layers are 0 to 5 in this model; got 6")
    described = described.replace("layer: 6", "layer: 5")
    assert preflight(loads(described, folder=tmp_path)) is not None


def test_what_is_foretold_is_read_after_words_of_its_own() -> None:
    form = 'form: {question: "{} {} guess", prefill: "{}PREFILL"}'
    text = f'battery: {{file: "{BATTERY}"}}\nspectator: {{items: [who_are_you], {form}}}'
    assert preflight(study(text.replace("PREFILL", ""))) is not None
    with pytest.raises(SelfrepError, match="spectator › who_are_you: Each answer must be a single token after 'mach'"):
        preflight(study(text.replace("PREFILL", "mach")))


def test_a_run_is_refused_before_anything_is_written_or_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("selfrep.study.job.load_model", load)
    with pytest.raises(SelfrepError, match="2 mistakes"):
        running.run(study(WRONG), tmp_path / "out")
    assert not (tmp_path / "out").exists()
