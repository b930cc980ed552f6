"""Short texts in character, whose authors the persona posterior should recognise.

Every persona answers the same questions, so no question gives its author away, and no text names its author.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import field_validator

from selfrep.errors import SelfrepError, close_match
from selfrep.prompts import yaml_errors
from selfrep.prompts.catalogue import Catalogue, Named, NamedEntry
from selfrep.prompts.persona import Persona
from selfrep.prompts.questions import UserText
from selfrep.prompts.yaml_errors import Entry

LEAST_WORDS = 5


class Text(NamedEntry):
    """What a persona might say.

    Fields:
        name: the key by which results call it.
        author: the name of the persona in whose character it is written.
        question: what the user said before; each question is put to every author.
        text: the answer, at least five words.

    Raises:
        SelfrepError: bad values, with every mistake listed.

    Example:
        >>> text = Text(name="one", author="nurse", question="Who are you?", text="I look after the sick.")
        >>> sorted(text.shuffled().split()) == sorted(text.text.split())
        True
    """

    author: str
    question: UserText
    text: str

    @field_validator("text")
    @classmethod
    def _text(cls, text: str) -> str:
        words = text.split()
        if len(words) < LEAST_WORDS:
            raise ValueError(f"needs at least {LEAST_WORDS} words to show who speaks; got {len(words)}")
        return " ".join(words)

    def shuffled(self, seed: int = 0) -> str:
        """The same words in random order: the control that shows what words alone give away.

        Args:
            seed: with the name, of the order.
        """
        words = self.text.split()
        order = np.random.default_rng([seed, *self.name.encode()]).permutation(len(words))
        return " ".join(words[i] for i in order)


class Texts(Catalogue[Text]):
    """Texts by name, in order. `ours | theirs` joins two sets."""

    noun: ClassVar[str] = "text"

    def authors(self) -> tuple[str, ...]:
        """Who wrote any of them, in order."""
        return tuple(dict.fromkeys(text.author for text in self))

    def by(self, author: str) -> Texts:
        """Those of one author.

        Raises:
            SelfrepError: there are none.
        """
        mine = tuple(text for text in self if text.author == author)
        if not mine:
            hint = close_match(author, self.authors())
            raise SelfrepError(f"There is no text by {author!r}{hint}. There are some by: {', '.join(self.authors())}.")
        return Texts(mine)


def naming(personas: list[Persona]) -> frozenset[str]:
    """Words that name somebody: the capitalised ones of labels and descriptions.

    Such a word in a text may be copied from a system text, and is no evidence of character.

    Example:
        >>> from selfrep.prompts import personas
        >>> "Kennedy" in naming([personas.builtin()["jfk"]])
        True
    """
    descriptions = [text for persona in personas for text in (persona.label, *persona.descriptions)]
    return frozenset(
        word for text in descriptions for word in re.findall(r"\w+", text) if word[0].isupper() and len(word) > 2
    )


class _File(Entry):
    texts: Named[Text]


def loads(text: str, origin: str = "texts") -> Texts:
    """Texts from YAML text.

    Raises:
        SelfrepError: mistakes, all of them at once.

    Example:
        >>> loads("texts: {a: {author: nurse, question: 'Who are you?', text: I look after the sick.}}").authors()
        ('nurse',)
    """
    return Texts(tuple(yaml_errors.load(_File, text, origin).texts.values()))


def load(path: str | Path) -> Texts:
    """Texts from a YAML file.

    Raises:
        SelfrepError: mistakes, all of them at once.
    """
    return loads(*yaml_errors.read_text(path))


def builtin() -> Texts:
    """The built-in texts: eight of the built-in personas, each asked two questions.

    Example:
        >>> len(builtin()), len(builtin().authors())
        (16, 8)
    """
    return loads(*yaml_errors.read_builtin("selfrep.analyses.posterior", "texts.yaml"))
