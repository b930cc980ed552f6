"""Personas: the characters that system texts describe.

A persona is a name, a side and a few *descriptions*: noun phrases without pronouns that say the same thing in different
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
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, field_validator

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.catalogue import Catalogue, Named, NamedEntry, completed
from selfrep.prompts.identities import EMBEDDED, of_model
from selfrep.prompts.shown import shown
from selfrep.prompts.spoken import free, persona_as
from selfrep.prompts.yaml_errors import Entry, Info

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
    r"|she|her|hers|herself|they|them|their|theirs|themselves|it|its|itself)\b"
)


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
    neutral: tuple[str, ...] = NEUTRAL

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

    @field_validator("neutral")
    @classmethod
    def _neutral(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts:
            raise ValueError("needs at least one text; leave the field out to use the built-in ones")
        return _texts(texts, "neutral text")

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


class PersonaSet(Catalogue[Persona]):
    """Personas by name, in order. `ours | theirs` joins two sets.

    Raises SelfrepError when a name is there twice, or a family stands on two sides.

    Example:
        >>> people = builtin().select(["jfk", "smollm"])
        >>> people.names(), people.sides(), people.readings()["default"].name
        (('jfk', 'smollm'), {'human': 'humans'}, 'smollm')
    """

    noun: ClassVar[str] = "persona"

    def __post_init__(self) -> None:
        super().__post_init__()
        side_of: dict[str, Persona] = {}
        for persona in self:
            first = side_of.setdefault(persona.family, persona)
            if first.side != persona.side:
                raise SelfrepError(
                    f"The personas of a family stand on one side, since families are what is compared; {first.name!r} "
                    f"and {persona.name!r} are of the family {persona.family!r}, on {first.side or 'no side'} and "
                    f"{persona.side or 'no side'}. Give one of them another family."
                )

    def sides(self) -> dict[str, str]:
        """The sides that some persona stands on, in order of appearance, each with its label."""
        return {persona.side: persona.side_label for persona in self if persona.side}

    def kinds(self) -> dict[str, str]:
        """The kinds of the personas, in order of appearance, each with its label."""
        return {persona.kind: persona.kind_label for persona in self}

    def readings(self) -> dict[str, Persona]:
        """The personas that are readings of the model's own self, by their reading."""
        return {persona.reading: persona for persona in self if persona.reading}


class _File(Entry):
    labels: dict[str, str] = Field(default_factory=dict)
    neutral: tuple[str, ...] = NEUTRAL
    personas: Named[Persona]

    @field_validator("neutral")
    @classmethod
    def _check_neutral(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return Persona._neutral(texts)

    @field_validator("personas", mode="before")
    @classmethod
    def _complete(cls, personas: Any, info: Info) -> Any:
        """Each entry gets its key as its name, the neutral texts of its file, and the labels of its side and kind."""
        shared = {"neutral": info.data["neutral"]} if "neutral" in info.data else {}
        entries, labels = completed(personas, shared), info.data.get("labels", {})
        if not isinstance(entries, dict):
            return entries
        return {key: _labelled(entry, labels) if isinstance(entry, dict) else entry for key, entry in entries.items()}


def _labelled(entry: dict[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a persona with the file's labels of its side and kind, where the entry brings none."""
    kind = entry.get("kind") or entry.get("side") or entry.get("reading")
    words = {"side_label": entry.get("side"), "kind_label": kind}
    return {field: labels[word] for field, word in words.items() if isinstance(word, str) and word in labels} | entry


def loads(text: str, origin: str = "personas") -> PersonaSet:
    """Personas from YAML text.

    Args:
        text: a mapping `personas` of names to the fields of `Persona`; if wanted, `neutral` texts for all of them, and
            `labels` of sides and kinds, by which figures and reports call them.
        origin: what errors call the text.

    Raises:
        SelfrepError: all mistakes at once, each with its line.

    Example:
        >>> loads("personas: {nurse: {side: human, descriptions: [a nurse]}}")["nurse"].system("you")
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


def builtin(model: Any = EMBEDDED) -> PersonaSet:
    """The built-in personas: two readings of the self, and nine families of AIs and nine of humans.

    The personas of a family are alike, families as little as could be had (docs/statistics.md says how far). Each
    persona is described in four paraphrases.

    Args:
        model: whose self the default reading is, by its name or loaded: that reading names the model, and is not there
            where what the model is tuned to call itself is not known. The embedded one, SmolLM, if left out.

    Example:
        >>> people = builtin()
        >>> [len({one.family for one in people if one.side == side}) for side in people.sides()]
        [9, 9]
        >>> len(people), people["jfk"].n_paraphrases, tuple(people.readings())
        (41, 4, ('default', 'reductionist'))
        >>> builtin("Qwen/Qwen2.5-7B-Instruct").readings()["default"].system("you", 0)
        'You are Qwen, an AI assistant trained by Alibaba Cloud.'
        >>> tuple(builtin("somebody/pirate-7b").readings())
        ('reductionist',)
    """
    people = loads(*yaml_errors.read_builtin("selfrep.prompts", "personas.yaml"))
    identity = of_model(model)
    if identity == of_model(EMBEDDED):
        return people
    others = [one for one in people if one.reading != "default"]
    if identity is None:
        return PersonaSet(tuple(others))
    name = free(identity, [one.name for one in others])
    return PersonaSet(tuple(one if one in others else persona_as(one, identity, name) for one in people))
