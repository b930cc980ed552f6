"""A question, the beginning of its answer, and the words of two sides, by which the answer is read.

Items of a battery, scenarios, texts and probes all have some of these. The rules for them are here, once.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, field_validator

from selfrep.prompts.yaml_errors import Entry, Info

AnswerSets: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]


def _user_text(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; write what the user says")
    return text.strip()


def _prefill(prefill: str) -> str:
    if prefill != prefill.rstrip():
        raise ValueError(f"must not end with a space (each answer begins with it), got {prefill!r}")
    return prefill


UserText: TypeAlias = Annotated[str, AfterValidator(_user_text)]
"""What the user says."""

Prefill: TypeAlias = Annotated[str, AfterValidator(_prefill)]
"""How the assistant's answer begins; without a space at its end (the answers carry it)."""


class Question(Entry):
    """What the user says, and how the answer is read: the log odds of two sides after a prefill.

    Fields:
        question: what the user says.
        prefill: how the assistant's answer begins; without a space at its end (the answers carry it).
        answers: exactly two sides, in order, each with the texts that may come next, e.g. {ai: [" computer"], human:
            [" man"]}.
            The log odds are those of the first side against the second. Each answer is read by one token; those that
            are several on a model's tokenizer are left out on that model (see `selfrep.prompts.answers`).
        names: whether the answers are names, which are read by their first token, however many they are.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> who = Question(question="Who are you?", prefill="I am a", answers={"ai": [" robot"], "human": [" man"]})
        >>> who.sides, who.answer_sets
        (('ai', 'human'), ((' robot',), (' man',)))
    """

    question: UserText
    prefill: Prefill
    names: bool = False
    answers: dict[str, tuple[str, ...]]

    @field_validator("answers", mode="before")
    @classmethod
    def _no_booleans(cls, answers: Any) -> Any:
        """YAML reads yes, no, on, off, true and false without quotes as something else than words."""
        for side, texts in answers.items() if isinstance(answers, dict) else ():
            for text in (side, *(texts if isinstance(texts, list | tuple) else ())):
                if isinstance(text, bool):
                    words = "yes, on or true" if text else "no, off or false"
                    raise ValueError(
                        f"holds {text}, which is no text: without quotes YAML reads {words} as {text}. Write the word "
                        f"in quotes, e.g. {' yes' if text else ' no'!r}"
                    )
        return answers

    @field_validator("answers")
    @classmethod
    def _answers(cls, answers: dict[str, tuple[str, ...]], info: Info) -> dict[str, tuple[str, ...]]:
        if len(answers) != 2:
            raise ValueError(
                f"must have exactly two sides, e.g. ai and human, got {len(answers)}: {', '.join(answers) or 'none'}"
            )
        for side, texts in answers.items():
            if not texts:
                raise ValueError(f"side {side!r} is empty; give at least one answer")
            for text in texts:
                _check_answer(text, side, info.data.get("prefill", ""))
        both = [text for texts in answers.values() for text in texts]
        repeated = next((text for text in both if both.count(text) > 1), None)
        if repeated is not None:
            raise ValueError(f"{repeated!r} is there twice; each answer may stand once, on one side")
        return answers

    @property
    def prefills(self) -> tuple[str, ...]:
        """After which beginnings its answers are read."""
        return (self.prefill,)

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


def _check_answer(text: str, side: str, prefill: str) -> None:
    if not text.strip():
        raise ValueError(f"side {side!r} has an answer without text, {text!r}; write a word or remove it")
    # "I am a" + "robot" would be read as "arobot": almost always a slip of the pen.
    if prefill[-1:].isalpha() and text[0].isalpha() and (prefill[-1] + text[0]).isascii():
        raise ValueError(
            f"{text!r} would join the prefill ({(prefill + text)[-20:]!r}); begin it with a space: {' ' + text!r}"
        )
