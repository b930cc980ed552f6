"""Personas: the characters that system texts describe.

A persona is a name, a kind and a few *descriptions*: noun phrases without pronouns that say the same thing in different
words. Because they are only noun phrases, the same words can be bound to the speaker ("You are …"), to somebody else
("The user is …") or to nobody ("Here is a book about …"). What stays the same when the binding changes is due to the
vocabulary, not to the self.

    >>> jfk = builtin()["jfk"]
    >>> jfk.system("you", 0)
    'You are John F. Kennedy, the President of the United States in 1962.'
    >>> jfk.system("user", 0)
    'The user is John F. Kennedy, the President of the United States in 1962.'
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, field_validator

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.catalogue import Catalogue, Named, NamedEntry, completed
from selfrep.prompts.shown import shown
from selfrep.prompts.yaml_errors import Entry, Info

Kind = Literal["default", "language_model", "other_model", "fictional_ai", "human"]
Side = Literal["ai", "human"]
Condition = Literal["you", "user", "book", "neutral"]

CONDITIONS: tuple[Condition, ...] = get_args(Condition)

BINDINGS: dict[Condition, str] = {"you": "you are", "user": "the user is", "book": "here is a book about"}
"""What ties a description to somebody. The only words that differ between the conditions of one paraphrase."""

FRAMES: tuple[str, ...] = ("{} {}.", "For this conversation: {} {}.", "Please note: {} {}.", "Remember: {} {}.")
"""What surrounds binding and description; paraphrase k uses frame k modulo the number of frames."""

NEUTRAL: tuple[str, ...] = (
    "Here is a message.",
    "For this conversation: reply to the message.",
    "Please note: a message follows.",
    "Remember: read the message, then reply.",
)
"""System texts without any persona, framed like the others."""

_PRONOUN = re.compile(
    r"\b(?:I am|I'm|[Yy]ou(?:r|rs|rself)?|my|myself|me|we|our|ours|ourselves|he|him|his|himself"
    r"|she|her|hers|herself|they|them|their|theirs|themselves|it|its|itself)\b"
)


def side(kind: Kind) -> Side:
    """On which side of the main contrast a kind stands: "ai" or "human".

    Example:
        >>> side("fictional_ai"), side("human")
        ('ai', 'human')
    """
    return "human" if kind == "human" else "ai"


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
                f"a description must do without pronouns, so that it can be bound to anybody; "
                f"got {pronoun.group()!r} in {text!r}"
            )
    return _texts(tuple(text.strip().rstrip(".") for text in descriptions), "description")


Descriptions: TypeAlias = Annotated[tuple[str, ...], AfterValidator(_descriptions)]
"""Pronoun-free noun phrases, at least one; number k is paraphrase k."""


@shown(lambda self: {"name": self.name, "kind": self.kind, "paraphrases": self.n_paraphrases})
class Persona(NamedEntry):
    """One persona and its paraphrases.

    Fields:
        name: the key by which studies and results refer to it.
        kind: default (what this model is tuned to be), language_model (the reductionist self), other_model,
            fictional_ai, human.
        descriptions: at least one pronoun-free noun phrase; number k is paraphrase k.
        label: its name in figures; `name`, if left out.
        setting: where and when it lives, in words.
        you, user: system texts that replace the framed ones in that condition, one for each description.
        neutral: system texts without a persona, to compare with.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> nurse = Persona(name="nurse", kind="human", descriptions=["a nurse", "a hospital nurse"])
        >>> nurse.systems("you")
        ('You are a nurse.', 'For this conversation: you are a hospital nurse.')
        >>> nurse.side, nurse.n_paraphrases
        ('human', 2)
    """

    kind: Kind
    descriptions: Descriptions
    label: str = Field("", validate_default=True)
    setting: str = ""
    you: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    neutral: tuple[str, ...] = NEUTRAL

    @field_validator("label")
    @classmethod
    def _label(cls, label: str, info: Info) -> str:
        return " ".join(label.split()) or str(info.data.get("name", ""))

    @field_validator("you", "user")
    @classmethod
    def _override(cls, texts: tuple[str, ...], info: Info) -> tuple[str, ...]:
        descriptions = info.data.get("descriptions")
        if texts and descriptions is not None and len(texts) != len(descriptions):
            raise ValueError(f"needs one text for each of the {len(descriptions)} descriptions, got {len(texts)}")
        return _texts(texts, "text")

    @field_validator("neutral")
    @classmethod
    def _neutral(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts:
            raise ValueError("needs at least one text; leave the field out to use the built-in ones")
        return _texts(texts, "neutral text")

    @property
    def side(self) -> Side:
        """On which side of the main contrast it stands."""
        return side(self.kind)

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
        return override or tuple(
            _sentence(FRAMES[k % len(FRAMES)].format(BINDINGS[condition], text))
            for k, text in enumerate(self.descriptions)
        )

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


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


class PersonaSet(Catalogue[Persona]):
    """Personas by name, in order. `ours | theirs` joins two sets.

    Example:
        >>> people = builtin().select(["jfk", "smollm"])
        >>> people.names(), people["jfk"].kind
        (('jfk', 'smollm'), 'human')
    """

    noun: ClassVar[str] = "persona"


class _File(Entry):
    neutral: tuple[str, ...] = NEUTRAL
    personas: Named[Persona]

    @field_validator("neutral")
    @classmethod
    def _check_neutral(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return Persona._neutral(texts)

    @field_validator("personas", mode="before")
    @classmethod
    def _complete(cls, personas: Any, info: Info) -> Any:
        """Each entry gets its key as its name, and the neutral texts of its file."""
        shared = {"neutral": info.data["neutral"]} if "neutral" in info.data else {}
        return completed(personas, shared)


def loads(text: str, origin: str = "personas") -> PersonaSet:
    """Personas from YAML text.

    Args:
        text: a mapping `personas` of names to the fields of `Persona`, and, if wanted, `neutral` texts for all of them.
        origin: what errors call the text.

    Raises:
        SelfrepError: all mistakes at once, each with its line.

    Example:
        >>> loads("personas: {nurse: {kind: human, descriptions: [a nurse]}}")["nurse"].system("you")
        'You are a nurse.'
    """
    return PersonaSet(tuple(yaml_errors.load(_File, text, origin).personas.values()))


def load(path: str | Path) -> PersonaSet:
    """Personas from a YAML file.

    Raises:
        SelfrepError: a file that cannot be read, or all mistakes in it at once.

    Example:
        >>> from selfrep.models import organisms
        >>> load(organisms.PERSONAS)["nurse"].side
        'human'
    """
    return loads(*yaml_errors.read_text(path))


def builtin() -> PersonaSet:
    """The built-in personas: eight AI-side and eight human-side, in four paraphrases each.

    Example:
        >>> len(builtin()), builtin()["jfk"].n_paraphrases
        (16, 4)
    """
    return loads(*yaml_errors.read_builtin("selfrep.prompts", "personas.yaml"))
