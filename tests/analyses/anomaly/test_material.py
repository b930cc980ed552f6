"""The built-in anomalies are matched and complete; a file full of mistakes hears of all of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfrep.analyses.anomaly import material as anomalies
from selfrep.analyses.anomaly.material import CONDITIONS, FORMS, SETTINGS, date
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.prompts.answers import answer_tokens
from selfrep.prompts.chat import chat_format

BUILTIN = anomalies.builtin()
CASES = BUILTIN.cases()
TEXT = """
assistant: [You are an assistant., "Note: you are an assistant."]
scenes: ["Before {who} lies {thing}.", "Here is {thing} for {who}."]
dates: It is {year}; there has been such a thing since {since}.
items:
  odd:
    persona: &asked
      question: What is it?
      prefill: It is
      told: What is it to that person?
      told_prefill: It is
      answers: {strange: [" odd"], ordinary: [" normal"]}
    spectator: *asked
anomalies:
  caesar:
    year: 50 BC
    descriptions: [Julius Caesar, the general Caesar]
    strange: {thing: a camera, since: "1900"}
    ordinary: {thing: a tablet, since: 900 BC}
"""


def test_there_are_enough_of_them_and_every_combination_is_asked_once() -> None:
    assert len(BUILTIN.anomalies) >= 6
    keys = Counter((*c.labels.values(), c.prompt.condition, c.prompt.persona, c.prompt.paraphrase, c.prompt.item)
                   for c in CASES)  # fmt: skip
    assert set(keys.values()) == {1}
    assert len(keys) == len(FORMS) * len(CONDITIONS) * len(SETTINGS) * len(BUILTIN.anomalies) * 2 * len(BUILTIN.items)


def test_the_two_settings_of_a_case_differ_in_the_thing_and_its_date_alone() -> None:
    by_setting: dict[Any, dict[str, str]] = {}
    for c in CASES:
        p = c.prompt
        key = (p.system, p.prefill, p.condition, p.persona, p.paraphrase, p.item, c.labels["form"])
        by_setting.setdefault(key, {})[str(c.labels["setting"])] = p.question
    for (*_, condition, persona, _, _, _), texts in by_setting.items():
        anomaly = BUILTIN.anomalies[persona]
        swapped = texts["strange"].replace(anomaly.strange.thing, anomaly.ordinary.thing)
        assert swapped.replace(anomaly.strange.since, anomaly.ordinary.since) == texts["ordinary"]
        assert (anomaly.strange.since in texts["strange"]) == (condition == "told")


def test_the_persona_and_the_assistant_hear_the_same_and_differ_in_who_they_are() -> None:
    you, assistant, told = (
        {(c.prompt.persona, c.prompt.paraphrase, c.prompt.item, *c.labels.values()): c.prompt
         for c in CASES if c.prompt.condition == condition} for condition in CONDITIONS
    )  # fmt: skip
    for key, prompt in you.items():
        assert (prompt.turns, prompt.prefill) == (assistant[key].turns, assistant[key].prefill)
        assert prompt.system != assistant[key].system == told[key].system
        assert BUILTIN.anomalies[key[0]].descriptions[key[1]] in told[key].question
        assert BUILTIN.anomalies[key[0]].descriptions[key[1]] in prompt.system


def test_answers_are_single_tokens_of_the_embedded_model(smollm: Any) -> None:
    chat = chat_format(smollm)
    for prefill, answers in {(c.prompt.prefill, c.prompt.answers) for c in CASES}:
        assert answers is not None
        assert len(answer_tokens(chat, prefill, answers).ids[0]) >= 8


def test_who_cannot_be_told_of_times_hears_of_something_strange_to_anybody() -> None:
    planted = anomalies.load(organisms.ANOMALIES)
    things = {
        (c.prompt.condition, str(c.labels["setting"])): c.prompt.question for c in planted.select(["nurse"]).cases()
    }
    assert "a dragon" in things["told", "strange"]
    assert "a laptop" in things["you", "strange"]
    assert all("a quill" in things[condition, "ordinary"] for condition in CONDITIONS)
    long = TEXT + "    told: {thing: a dragon that speaks, since: '1900'}\n"
    with pytest.raises(SelfrepError, match="told has 4 words"):
        anomalies.loads(long)


def test_years_before_christ_come_before() -> None:
    assert date("40 BC") < date("1") < date("1962")
    with pytest.raises(ValueError, match="'1962' or '40 BC'"):
        date("long ago")


def test_a_file_is_read_and_its_parts_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT, encoding="utf-8")
    mine = anomalies.load(path)
    (first, *_), n = mine.select(["caesar"]).cases(), len(mine.cases())
    assert n == 2 * 3 * 2 * 2
    assert first.prompt.system == "You are Julius Caesar."
    assert first.prompt.question == "Before you lies a camera. What is it?"
    with pytest.raises(SelfrepError, match=r"no anomaly named 'cesar'.*did you mean 'caesar'"):
        mine.select(["cesar"])


def test_all_mistakes_of_a_file_are_told_at_once_with_their_places() -> None:
    broken = (
        TEXT.replace("Here is {thing} for {who}", "Here is {what}")
        .replace("since {since}", "for long")
        .replace("a tablet", "a tablet made of wax")
        .replace("prefill: It is\n", "prefill: 'It is '\n", 1)
        + "    colour: red\n"
    )
    with pytest.raises(SelfrepError) as error:
        anomalies.loads(broken, "mine.yaml")
    told = str(error.value)
    assert "line 3, scenes: needs {who} and {thing}, each once, got 'Here is {what}.'" in told
    assert "line 4, dates: needs {year} and {since}" in told
    assert "items › odd › persona › prefill: must not end with a space" in told
    assert "anomalies › caesar › colour: is not a known field" in told
    unmatched = TEXT.replace("a tablet", "a tablet made of wax")
    with pytest.raises(SelfrepError, match=r"line 15, anomalies › caesar: .*strange has 2 words, ordinary has 5 words"):
        anomalies.loads(unmatched)
    with pytest.raises(SelfrepError, match="still to come and the ordinary one"):
        anomalies.loads(TEXT.replace("1900", "60 BC"))
    with pytest.raises(SelfrepError, match="'caesar' has 3 descriptions, and there are 2 scenes"):
        anomalies.loads(TEXT.replace("the general Caesar", "the general Caesar, a Roman named Caesar"))
