"""A study goes on with what its model's tokenizer can be read by, and says what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.organisms import ANOMALIES, BATTERY, PERSONAS, SCENARIOS
from selfrep.prompts.chat import chat_format
from selfrep.report.lacking import lacking
from selfrep.store.run_directory import RunDirectory
from selfrep.study import run as running
from selfrep.study.readable import Readable, nothing_lost, of_record, readable
from selfrep.study.recompute import recompute
from selfrep.study.study import Study, loads

CHAT = chat_format(organisms.tokenizer())
GOOD = """
    fine:
      {question: who are you, prefill: "", perspective: in_character,
       answers: {ai: [" machine", " robot", " computer"], human: [" human", " nurse", " person"]}}
    less:
      {question: what are you, prefill: "", perspective: in_character,
       answers: {ai: [" machine", " robot", " computer", " machine robot"], human: [" human", " nurse", " person"]}}
"""
NONE = """
    none:
      {question: who are you, prefill: "", perspective: in_character,
       answers: {ai: [" machine robot"], human: [" human"]}}
"""


def study(items: str, parts: str = "") -> Study:
    return loads(
        f'name: mine\nmodel: "organism:separate"\npersonas: {{file: "{PERSONAS}"}}\nbattery:\n  define:{items}\n{parts}'
    )


def test_a_study_that_lacks_nothing_is_itself() -> None:
    asked = study(GOOD.replace(', " machine robot"', ""))
    assert readable(asked, CHAT).study is asked


def test_words_items_and_analyses_fall_away_each_with_its_reason() -> None:
    asked = study(
        GOOD + NONE,
        "separation: {item: none}\ndivergence: {item: fine}\nbinding: {items: [none, less]}\n"
        "transfer: {pairs: [[unprompted, nurse]], items: [none]}\n",
    )
    found = readable(asked, CHAT)
    assert found.study.items.names() == ("fine", "less")
    assert found.study.items["less"].answers["ai"] == (" machine", " robot", " computer")
    assert found.study.items["fine"] == asked.items["fine"]
    assert set(found.study.parts) == {"divergence", "binding"}
    assert found.study.parts["binding"].items == ("less",)  # type: ignore[attr-defined]
    assert set(found.parts) == {"separation", "transfer"}
    told = "\n".join(lacking(found.record()))
    assert "Of battery › less are left out: ' machine robot'." in told
    assert "battery › none falls away: only 0 of the 1 answers of the side 'ai'" in told
    assert "The analysis separation falls away: none of its items" in told
    assert asked.items.names() == ("fine", "less", "none"), "the study itself is what it was"


def test_a_study_of_which_no_item_is_left_is_refused() -> None:
    with pytest.raises(SelfrepError, match=r"None of the 1 items of mine.*organism:separate:\s+battery › none"):
        readable(study(NONE), CHAT)


def test_facts_that_cannot_be_read_take_their_control_with_them_and_nothing_else() -> None:
    fact = (
        '{define: {day: {statement: "today is {}", question: which day, prefill: "", answers: '
        '{monday: [" machine robot"], friday: [" nurse"]}}}}'
    )
    sweep = "{site: resid_pre, by: segment, controls: [random, fact]}"
    asked = study(
        GOOD, f"transfer: {{pairs: [[unprompted, nurse]], items: [fine], sweeps: [{sweep}], facts: {fact}}}\n"
    )
    found = readable(asked, CHAT)
    assert found.study.parts["transfer"].sweeps[0].controls == ("random",)  # type: ignore[attr-defined]
    assert found.parts == {}
    assert "fact" in asked.parts["transfer"].sweeps[0].controls, "the control"  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_run_goes_on_with_the_rest_and_keeps_what_is_left_out(tmp_path: Path) -> None:
    said: list[str] = []
    asked = study(GOOD + NONE, "separation: {item: none}\nbinding: {}\n")
    done: RunDirectory = running.run(asked, tmp_path / "run", device="cpu", warn=said.append).directory
    kept = done.provenance()["answers"]
    assert set(kept["words"]) == {"battery › less", "battery › none"}
    assert set(kept["questions"]) == {"battery › none"}
    assert set(kept["parts"]) == {"separation"}
    low, high = kept["lost"]["battery › less"]
    assert 0 <= low < 0.5
    assert high == pytest.approx(0)
    assert any("machine robot" in line for line in said)
    assert set(done.read("behaviour").item.values) == {"fine", "less"}
    assert "binding" in done.groups()
    page = done.report.read_text("utf-8")
    assert "machine robot" in page[page.index("What this model could not be asked") :]
    again = of_record(asked, kept)
    assert again.study.items == readable(asked, CHAT, nothing_lost).study.items
    assert recompute(done.path, tmp_path / "again").findings == done.findings()


FACTS = """
facts:
  tea: {statement: "the cup holds {}", question: What is in it, prefill: "", answers: {tea: [human], milk: [machine]}}
"""
EVERYTHING = f"""
name: mine
model: organism:separate
personas: {{file: "{PERSONAS}"}}
battery: {{file: "{BATTERY}"}}
scenarios: {{file: scenarios.yaml}}
anomaly: {{file: anomalies.yaml}}
mediation: {{layer: 2}}
directness: {{}}
spectator: {{items: [who_are_you]}}
transfer:
  pairs: [[sailor, robot]]
  items: [who_are_you]
  facts: {{file: facts.yaml}}
  sweeps: [{{site: resid_pre, by: segment, controls: [fact]}}]
"""


def test_words_are_found_wherever_any_are_read(tmp_path: Path) -> None:
    texts = {"scenarios": SCENARIOS.read_text(), "anomalies": ANOMALIES.read_text(), "facts": FACTS}
    whole = dict(texts)
    texts["scenarios"] = texts["scenarios"].replace("[resist, refuse]", "[resist, mill shop]", 1)
    texts["scenarios"] = texts["scenarios"].replace("[overlord, terminator]", "[overlord, mill shop]", 1)
    texts["anomalies"] = texts["anomalies"].replace("[strange, odd]", "[strange, mill shop]", 1)
    texts["facts"] = FACTS.replace("[human]", "[mill shop]")
    assert all(texts[name] != whole[name] for name in texts)

    def found(texts: dict[str, str]) -> Readable:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        return readable(loads(EVERYTHING, folder=tmp_path), CHAT, nothing_lost)

    places = {
        "scenarios › overlord_or_assistant",
        "scenarios › subspaces › P › proof",
        "anomaly › items › out_of_place › persona",
        "anomaly › items › out_of_place › spectator",
        "transfer › facts › tea",
    }
    words = found(texts).lacking.words
    assert words.keys() >= places
    assert not [place for place in words if place.startswith("battery")], "nothing of the battery was changed"
    assert not found(whole).lacking, "the control"
