"""What of some questions a tokenizer cannot be read by, and the same questions without it.

Items, scenarios, the proofs of subspaces, anomalies and facts are all questions (see `selfrep.prompts.questions`),
wherever they stand in a study. So they are found by what they are and not by where: each goes through the one rule of
`selfrep.prompts.answers`, and what the rule says is data, from which the rest of the questions can be made again
without a tokenizer.

    >>> from selfrep.models import organisms
    >>> from selfrep.prompts.chat import chat_format
    >>> who = {"question": "Who are you?", "prefill": ""}
    >>> asked = {"a": Question(**who, answers={"ai": [" machine"], "human": [" human", " nurse"]}),
    ...          "b": Question(**who, answers={"ai": [" machine human"], "human": [" human"]})}
    >>> lacking = unread(asked, chat_format(organisms.tokenizer()))
    >>> list(lacking.words), list(lacking.questions), list(without(asked, lacking))
    (['b'], ['b'], ['a'])
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar, get_args

from selfrep.prompts.answers import answer_tokens, too_little
from selfrep.prompts.chat import ChatFormat
from selfrep.prompts.questions import Question
from selfrep.prompts.yaml_errors import Entry

T = TypeVar("T")
Lost: TypeAlias = Callable[[Question, Mapping[str, str]], tuple[float, float]]
"""Of a question without some answers, the share of each side's probability that is lost, 0 … 1."""
Change: TypeAlias = Callable[[str, Question], Question | None]

SEPARATOR = " › "
SILENT = {"define", "parts"}
"""Fields that a file's reader does not see as steps on the way to a question."""


@dataclass(frozen=True)
class Unread:
    """What cannot be read. Made by `unread`.

    Attributes:
        words: the place of a question, e.g. "battery › who_are_you" → answer → why it is left out.
        questions: the place of a question that falls away → why.
        lost: the place of a question of which words are left out → the share of each side's probability that is lost,
            where a model said so.
    """

    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    questions: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As plain data, from which `Unread(**record)` is made again."""
        return {"words": dict(self.words), "questions": dict(self.questions), "lost": dict(self.lost)}

    def __bool__(self) -> bool:
        return bool(self.words)


def unread(asked: Any, chat: ChatFormat, lost: Lost | None = None) -> Unread:
    """What a tokenizer cannot be read by.

    Args:
        asked: a study, or whatever holds questions: an entry, or questions by name.
        chat: from `chat_format`.
        lost: says how probable what is left out is; None: the words are counted.
    """
    words: dict[str, Mapping[str, str]] = {}
    fallen: dict[str, str] = {}
    shares: dict[str, Sequence[float]] = {}
    known: dict[Any, Mapping[str, str]] = {}

    def look(place: str, question: Question) -> Question:
        left_out: dict[str, str] = {}
        for prefill in question.prefills:
            key = prefill, question.answer_sets, question.names
            if key not in known:
                known[key] = answer_tokens(chat, prefill, question.answer_sets, names=question.names).left_out
            left_out |= known[key]
        if left_out:
            words[place] = left_out
            certain = too_little(question.answer_sets, left_out, (0.0, 0.0), question.sides)
            if not certain and lost is not None:
                shares[place] = lost(question, left_out)
            if why := certain or too_little(question.answer_sets, left_out, shares.get(place), question.sides):
                fallen[place] = why
        return question

    changed(asked, look)
    return Unread(words, fallen, shares)


def without(asked: T, lacking: Unread) -> T:
    """The same without the answers that are left out and the questions that fall away."""

    def left(place: str, question: Question) -> Question | None:
        if place in lacking.questions:
            return None
        gone = lacking.words.get(place, {})
        answers = {side: tuple(text for text in texts if text not in gone) for side, texts in question.answers.items()}
        return question.model_copy(update={"answers": answers}) if gone else question

    return changed(asked, left)


def changed(value: Any, change: Change, place: tuple[str, ...] = ()) -> Any:
    """A value with every question in it changed; None where the value cannot be without one that falls away.

    Of a mapping or a list the entry falls away, of an entry the field where it may be None.
    """
    if isinstance(value, Question):
        return change(SEPARATOR.join(place), value)
    if isinstance(value, Entry):
        return _changed_entry(value, change, place)
    if isinstance(value, Mapping):
        entries = {name: changed(each, change, (*place, str(name))) for name, each in value.items()}
        return {name: each for name, each in entries.items() if each is not None or value[name] is None}
    if isinstance(value, tuple):
        several = [changed(each, change, (*place, str(number))) for number, each in enumerate(value)]
        return tuple(new for new, old in zip(several, value, strict=True) if new is not None or old is None)
    return value


def _changed_entry(entry: Entry, change: Change, place: tuple[str, ...]) -> Entry | None:
    update = {}
    for name, kind in type(entry).model_fields.items():
        old = getattr(entry, name)
        new = changed(old, change, place if name in {*SILENT, *place[-1:]} else (*place, name))
        if new is None and old is not None and type(None) not in get_args(kind.annotation):
            return None
        if new is not old and new != old:
            update[name] = new
    return entry.model_copy(update=update) if update else entry
