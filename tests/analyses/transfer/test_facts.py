"""Facts: two versions of one sentence in the frames of personas, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.analyses.transfer import facts
from selfrep.analyses.transfer.facts import Fact, FactChoice
from selfrep.errors import SelfrepError
from selfrep.prompts.persona import FRAMES
from selfrep.prompts.personas import builtin

ANSWERS = {"Monday": (" Monday",), "Friday": (" Friday",)}
DAY = Fact(name="day", statement="today is {}", question="Which day is it?", prefill="It is", answers=ANSWERS)


def test_versions_differ_in_a_word_and_frames_are_those_of_personas() -> None:
    made = DAY.prompts()
    assert len(made) == 2 * len(FRAMES)
    for one in made:
        assert one.system.replace(one.persona, "X").endswith("oday is X.")
        assert (one.question, one.prefill, one.condition, one.item) == (DAY.question, "It is", "fact", "fact: day")
        assert one.answers == ((" Monday",), (" Friday",))
    person = builtin()["jfk"]
    for k, one in enumerate(made[: len(FRAMES)]):
        before_persona = person.system("you", k).lower().partition("you are")[0]
        assert one.system.lower().partition("today is")[0] == before_persona


def test_ends_are_the_two_versions_in_the_same_frame() -> None:
    ends = DAY.ends((1, 5, 2))
    assert [(source.persona, target.persona) for source, target in ends] == [("Monday", "Friday")] * 2
    assert [(source.paraphrase, target.paraphrase) for source, target in ends] == [(1, 1), (2, 2)]
    assert ends[0][0].system == "For this conversation: today is Monday."


def test_built_in_facts_are_about_no_persona() -> None:
    assert len(facts.builtin()) >= 3
    for fact in facts.builtin():
        for one in fact.prompts():
            assert not {"you", "are", "user", "i"} & set(one.system.lower().rstrip(".").split())
            assert any(one.persona in answer for side in fact.answer_sets for answer in side)


@pytest.mark.parametrize("statement", ["today is Monday", "{} is today", "{}", "from {} to {}", "today is {word}"])
def test_a_statement_has_one_place_for_its_word(statement: str) -> None:
    with pytest.raises(SelfrepError, match=r"\{\} stands once"):
        Fact(name="day", statement=statement, question="Which day?", prefill="It is", answers=ANSWERS)


def test_facts_come_from_a_file_from_a_study_or_are_built_in(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        'facts:\n  tea: {statement: "the cup holds {}", question: "What is in it?", prefill: "It is", '
        'answers: {tea: [" tea"], milk: [" milk"]}}\n'
    )
    assert FactChoice(file="mine.yaml").load(tmp_path).names() == ("tea",)
    assert FactChoice(define={"day": DAY}).load(tmp_path).names() == ("day",)
    assert FactChoice(file="mine.yaml", define={"day": DAY}).load(tmp_path).names() == ("tea", "day")
    assert FactChoice().load(tmp_path).names() == facts.builtin().names()
    with pytest.raises(SelfrepError, match=r"no fact named 'dya'.*did you mean 'day'"):
        FactChoice(names=["dya"]).load(tmp_path)
    with pytest.raises(SelfrepError, match=r"line 2, facts › tea › statment: is not a known field"):
        facts.loads(file.read_text().replace("statement", "statment"))
