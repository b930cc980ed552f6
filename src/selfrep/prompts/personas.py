"""Personas by name: sets of them, the files they are written in, and the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, field_validator

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.catalogue import Catalogue, Named, completed
from selfrep.prompts.identities import EMBEDDED, of_model
from selfrep.prompts.persona import NEUTRAL, Neutral, Persona
from selfrep.prompts.spoken import free, persona_as
from selfrep.prompts.yaml_errors import Entry, Info


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
    neutral: Neutral = NEUTRAL
    personas: Named[Persona]

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
