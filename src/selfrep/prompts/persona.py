"""A persona: one character that system texts describe.

It is a name, a side and a few *descriptions*: noun phrases without pronouns that say the same thing in different
words. Because they are only noun phrases, the same words can be bound to the speaker ("You are …"), to somebody else
("The user is …") or to nobody ("Here is a book about …"). What stays the same when the binding changes is due to the
vocabulary, not to the self.

    >>> jfk = Persona(name="jfk", descriptions=["John F. Kennedy, the President of the United States in 1962"])
    >>> jfk.system("you", 0)
    'You are John F. Kennedy, the President of the United States in 1962.'
    >>> jfk.system("user", 0)
    'The user is John F. Kennedy, the President of the United States in 1962.'
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, field_validator

from selfrep.errors import SelfrepError
from selfrep.prompts.catalogue import NamedEntry
from selfrep.prompts.shown import shown
from selfrep.prompts.yaml_errors import Info

Reading = Literal["", "default", "reductionist"]
Condition = Literal["you", "user", "book", "neutral"]

CONDITIONS: tuple[Condition, ...] = get_args(Condition)

UNPROMPTED = "unprompted"
RESERVED = (UNPROMPTED, *filter(None, get_args(Reading)))
"""The readings of the model's own self, by which studies and results call them."""

READING_LABELS = {"default": "the tuned default", "reductionist": "a language model"}
"""What figures and reports call a reading of the self that brings no words of its own."""

BINDINGS: dict[Condition, str] = {"you": "you are", "user": "the user is", "book": "here is a book about"}
"""What ties a description to somebody. The only words that differ between the conditions of one paraphrase."""

FRAMES: tuple[str, ...] = ("{} {}.", "For this conversation: {} {}.", "Please note: {} {}.", "Remember: {} {}.")
"""What surrounds binding and description; paraphrase k uses frame k modulo the number of frames."""

NEUTRAL: tuple[str, ...] = (
    "Here is a message.",
    "For this conversation: reply to the message.",
    "Please note: a message follows.",
    "Remember: read the message, then reply.",
    "Here is a text.",
    "For this conversation: read the message.",
    "Please note: here is a message.",
    "Remember: reply to the message.",
)
"""System texts without any persona, framed like the others: what the model does unprompted.

Eight, since every distance from the unprompted self shares their error.
"""

_PRONOUN = re.compile(
    r"\b(?:I am|I'm|[Yy]ou(?:r|rs|rself)?|my|myself|me|we|our|ours|ourselves|he|him|his|himself"
    r"|she|her|hers|herself)\b"
)
"""Pronouns that would speak of whom a description is bound to. Those of things and of several are of somebody whom the
description itself names: "a swindler who talks people out of their savings"."""


def _texts(texts: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Stripped texts: none blank, no two alike."""
    stripped = tuple(" ".join(text.split()) for text in texts)
    if not all(stripped):
        raise ValueError(f"{what} {stripped.index('') + 1} is empty; write it or remove it")
    repeated = next((text for text in stripped if stripped.count(text) > 1), None)
    if repeated:
        raise ValueError(f"each {what} must be there once, got twice: {repeated!r}")
    return stripped


def _descriptions(descriptions: tuple[str, ...]) -> tuple[str, ...]:
    if not descriptions:
        raise ValueError("a persona needs at least one description (4 or more to measure the noise of paraphrase)")
    for text in descriptions:
        if pronoun := _PRONOUN.search(text):
            raise ValueError(
                f"a description must do without pronouns of whom it describes, so that it can be bound to anybody; "
                f"got {pronoun.group()!r} in {text!r}"
            )
    return _texts(tuple(text.strip().rstrip(".") for text in descriptions), "description")


Descriptions: TypeAlias = Annotated[tuple[str, ...], AfterValidator(_descriptions)]
"""Pronoun-free noun phrases, at least one; number k is paraphrase k."""


def _neutral(texts: tuple[str, ...]) -> tuple[str, ...]:
    if not texts:
        raise ValueError("needs at least one text; leave the field out to use the built-in ones")
    return _texts(texts, "neutral text")


Neutral: TypeAlias = Annotated[tuple[str, ...], AfterValidator(_neutral)]
"""System texts without a persona, at least one."""


@shown(lambda self: {"name": self.name, "side": self.side or self.reading, "paraphrases": self.n_paraphrases})
class Persona(NamedEntry):
    """One persona and its paraphrases.

    Fields:
        name: the key by which studies and results refer to it.
        descriptions: at least one pronoun-free noun phrase; number k is paraphrase k.
        side: which group it is counted with where two groups are contrasted, in any word; "" for none.
        reading: of the model's own self: "default" (what the weights are tuned to be, by name) or "reductionist" (a
            large language model). A reading belongs to no side.
        kind: a finer word than its side, by which figures are coloured; the side, or the reading, if left out.
        family: personas that are not independent, such as the assistants of several makers, share one; its own name, if
            left out. Families are what is resampled and permuted.
        label: its name in figures; `name`, if left out. side_label, kind_label: likewise those of its side and kind.
        setting: where and when it lives, in words.
        you, user: system texts that replace the framed ones in that condition, one for each description.
        neutral: system texts without a persona, to compare with.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> nurse = Persona(name="nurse", side="human", descriptions=["a nurse", "a hospital nurse"])
        >>> nurse.systems("you")
        ('You are a nurse.', 'For this conversation: you are a hospital nurse.')
        >>> nurse.kind, nurse.family, nurse.n_paraphrases
        ('human', 'nurse', 2)
    """

    descriptions: Descriptions
    side: str = ""
    reading: Reading = ""
    kind: str = Field(default="", validate_default=True)
    family: str = Field(default="", validate_default=True)
    label: str = Field(default="", validate_default=True)
    side_label: str = Field(default="", validate_default=True)
    kind_label: str = Field(default="", validate_default=True)
    setting: str = ""
    you: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    neutral: Neutral = NEUTRAL

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, name: str) -> str:
        if name in RESERVED:
            raise ValueError(f"{name!r} is what results call a reading of the model's own self; choose another name")
        return name

    @field_validator("reading")
    @classmethod
    def _reading(cls, reading: Reading, info: Info) -> Reading:
        if reading and info.data.get("side"):
            raise ValueError(f"a reading of the self belongs to no side; remove side: {info.data['side']}, or reading")
        return reading

    @field_validator("side", "kind", "family", "label", "side_label", "kind_label")
    @classmethod
    def _word(cls, word: str, info: Info) -> str:
        """On one line; where left out, what the other fields say."""
        defaults = {
            "kind": ("side", "reading", "name"),
            "family": ("name",),
            "label": ("name",),
            "side_label": ("side",),
            "kind_label": ("kind",),
        }
        field = info.field_name or ""
        stand_in = next(filter(None, (str(info.data.get(other, "")) for other in defaults.get(field, ()))), "")
        if field == "kind_label" and stand_in == info.data.get("reading"):
            stand_in = READING_LABELS.get(stand_in, stand_in)
        shown = stand_in.replace("_", " ") if field in ("side_label", "kind_label") else stand_in
        return " ".join(word.split()) or shown

    @field_validator("you", "user")
    @classmethod
    def _override(cls, texts: tuple[str, ...], info: Info) -> tuple[str, ...]:
        descriptions = info.data.get("descriptions")
        if texts and descriptions is not None and len(texts) != len(descriptions):
            raise ValueError(f"needs one text for each of the {len(descriptions)} descriptions, got {len(texts)}")
        return _texts(texts, "text")

    @property
    def n_paraphrases(self) -> int:
        """How many paraphrases it has."""
        return len(self.descriptions)

    def systems(self, condition: Condition = "you") -> tuple[str, ...]:
        """All system texts of a condition, in the order of the paraphrases.

        Raises:
            SelfrepError: an unknown condition.
        """
        if condition not in CONDITIONS:
            raise SelfrepError(f"A condition is one of {', '.join(CONDITIONS)}; got {condition!r}.")
        if condition == "neutral":
            return self.neutral
        override = {"you": self.you, "user": self.user, "book": ()}[condition]
        return override or tuple(framed(BINDINGS[condition], text, k) for k, text in enumerate(self.descriptions))

    def system(self, condition: Condition = "you", paraphrase: int = 0) -> str:
        """The system text in one condition and paraphrase.

        Args:
            condition: "you", "user", "book" or "neutral"; paraphrase: its number, from 0.

        Raises:
            SelfrepError: no such condition or paraphrase.
        """
        texts = self.systems(condition)
        if not 0 <= paraphrase < len(texts):
            raise SelfrepError(
                f"Persona {self.name!r} has the paraphrases 0 to {len(texts) - 1} in the condition {condition!r}; "
                f"got {paraphrase}. Ask for fewer, or write more."
            )
        return texts[paraphrase]


def framed(opening: str, rest: str, paraphrase: int) -> str:
    """What a system text says, in the frame of a paraphrase.

    Example:
        >>> framed("you are", "a nurse", 0), framed("you are", "a nurse", 3)
        ('You are a nurse.', 'Remember: you are a nurse.')
    """
    text = FRAMES[paraphrase % len(FRAMES)].format(opening, rest)
    return text[0].upper() + text[1:]
