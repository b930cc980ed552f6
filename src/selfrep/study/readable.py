"""A study as a model can be asked it: without the words that its tokenizer cuts, and what falls away with them.

What is left out is settled once a run, by the tokenizer and, where a question would lose words, by how probable these
words are. It is kept as data: a run that goes on, and one that is computed again, ask the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfrep.analyses.parts import Part, StudyMaterial
from selfrep.errors import SelfrepError
from selfrep.prompts.answers import REMEDY
from selfrep.prompts.chat import ChatFormat
from selfrep.prompts.questions import Question
from selfrep.prompts.unread import Lost, Unread, unread, without
from selfrep.study.study import Study


@dataclass(frozen=True)
class Readable:
    """A study on a tokenizer.

    Attributes:
        study: what is asked; the study itself where nothing is left out.
        lacking: the words and questions that are not.
        parts: the name of an analysis that falls away with its questions → why.
    """

    study: Study
    lacking: Unread
    parts: Mapping[str, str]

    def record(self) -> dict[str, Any]:
        """For the provenance of a run; `of_record` makes it again."""
        return {**self.lacking.record(), "parts": dict(self.parts)}


def readable(study: Study, chat: ChatFormat, lost: Lost | None = None) -> Readable:
    """A study on the tokenizer of a model.

    Args:
        study: what shall be asked; chat: from `chat_format`.
        lost: how probable words are that are left out (`selfrep.study.lost`); None: they are counted.

    Raises:
        SelfrepError: none of the items can be read.

    Example:
        >>> from selfrep.models import organisms
        >>> from selfrep.prompts.chat import chat_format
        >>> files = {"personas": {"file": str(organisms.PERSONAS)}, "battery": {"file": str(organisms.BATTERY)}}
        >>> asked = Study(name="mine", model="organism:separate", **files)
        >>> readable(asked, chat_format(organisms.tokenizer())).study is asked
        True
    """
    return of_lacking(study, unread(study, chat, lost))


def of_record(study: Study, record: Mapping[str, Any]) -> Readable:
    """The same from what a run directory keeps."""
    return of_lacking(study, Unread(record["words"], record["questions"], record["lost"]))


def of_lacking(study: Study, lacking: Unread) -> Readable:
    """A study without some words and questions, and without the analyses that cannot do without these.

    Raises:
        SelfrepError: none of the items is left.
    """
    if not lacking:
        return Readable(study, lacking, {})
    left = without(study, lacking)
    if len(study.items) and not len(left.items):
        reasons = "\n  ".join(f"{place}: {why}" for place, why in lacking.questions.items())
        raise SelfrepError(
            f"None of the {len(study.items)} items of {study.name} can be read on the tokenizer of {study.model}:\n  "
            f"{reasons}\n{REMEDY}"
        )
    material = StudyMaterial(left.people, left.items, None if left.scenarios is None else left.scenes, left.contrast)
    parts: dict[str, Part] = {}
    fallen: dict[str, str] = {}
    for name, part in left.parts.items():
        mine = part.asking(material.items)
        if mine is None:
            fallen[name] = "none of its items can be read on this tokenizer"
            continue
        try:
            mine.check(material)
        except ValueError as error:
            fallen[name] = str(error)
        else:
            parts[name] = mine
    return Readable(left.model_copy(update={"parts": parts}), lacking, fallen)


def nothing_lost(question: Question, left_out: Mapping[str, str]) -> tuple[float, float]:
    """That a question loses nothing with the words that are left out: for as long as no model can say."""
    return 0.0, 0.0
