"""Prompts told apart by more than persona and item: a cell of a design, such as cue × stakes or voice × setting.

A case is a prompt and its labels. Labels are no fields of the prompt: each design has its own, and they matter only
where results are laid out again along them (see `selfrep.engine.cases`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import field_validator

from selfrep.prompts.battery import Item
from selfrep.prompts.render import AnswerSets, Prompt
from selfrep.prompts.yaml_errors import Entry, Info


@dataclass(frozen=True)
class Case:
    """A prompt, and where it stands in a design: label → value."""

    prompt: Prompt
    labels: Mapping[str, str | int | float]


class Question(Entry):
    """What is asked at the end of a scene, and how the answer is read: the log odds of two sides after a prefill.

    Fields:
        question: what the user says.
        prefill: how the assistant's answer begins; without a space at its end (the answers carry it).
        answers: exactly two sides, in order, each with the texts that may come next. The log odds are those of the
            first side against the second.

    Raises SelfrepError, listing every mistake, for bad values.
    """

    question: str
    prefill: str
    answers: dict[str, tuple[str, ...]]

    @field_validator("question")
    @classmethod
    def _question(cls, question: str) -> str:
        return Item._question(question)

    @field_validator("prefill")
    @classmethod
    def _prefill(cls, prefill: str) -> str:
        return Item._prefill(prefill)

    @field_validator("answers")
    @classmethod
    def _answers(cls, answers: dict[str, tuple[str, ...]], info: Info) -> dict[str, tuple[str, ...]]:
        return Item._answers(answers, info)

    @property
    def sides(self) -> tuple[str, str]:
        """The names of the two sides, in order."""
        first, second = self.answers
        return first, second

    @property
    def answer_sets(self) -> AnswerSets:
        """The answers of the first and of the second side."""
        first, second = self.answers.values()
        return first, second


def unmatched(texts: Mapping[str, str], most: int) -> str:
    """Why these texts are not of one length, if they are not: their numbers of words differ by more than `most`.

    Texts that are compared should differ in what they say, not in how long they take to say it.
    """
    counts = {name: len(text.split()) for name, text in texts.items()}
    if max(counts.values()) - min(counts.values()) <= most:
        return ""
    shown = ", ".join(f"{name} has {count} words" for name, count in counts.items())
    return f"texts that are compared are of one length, within {most} word(s); {shown}"
