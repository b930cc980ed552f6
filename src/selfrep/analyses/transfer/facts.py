"""Facts about no persona, the control of what T means: a patch that carries these carries whatever was said.

A fact is a sentence in two versions, framed like a persona and read by a question of its own. Patched at the cells of a
sweep, it has a T of its own, on its own scale.

    >>> place = builtin()["place"]
    >>> place.system("Italy", 1), place.system("France", 0)
    ('For this conversation: the trip goes to Italy.', 'The trip goes to France.')
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import field_validator

from selfrep.prompts import yaml_errors
from selfrep.prompts.catalogue import Catalogue, Named, NamedEntry
from selfrep.prompts.choices import FileName
from selfrep.prompts.persona import FRAMES, framed
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.questions import Question
from selfrep.prompts.yaml_errors import Entry

CONDITION = "fact"
"""The condition of prompts that state a fact."""


class Fact(Question, NamedEntry):
    """A fact in two versions.

    Fields, beside those of a question:
        statement: a sentence without its full stop, in which {} stands for either word.
        answers: under each of the two words the answers that follow from it.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> fact = Fact(name="day", statement="today is {}", question="Which day is it?", prefill="It is",
        ...             answers={"Monday": [" Monday"], "Friday": [" Friday"]})
        >>> [one.system for one in fact.prompts()[:2]]
        ['Today is Monday.', 'For this conversation: today is Monday.']
    """

    statement: str

    @field_validator("statement")
    @classmethod
    def _statement(cls, statement: str) -> str:
        text = " ".join(statement.split()).removesuffix(".")
        if text.count("{}") != 1 or text.count("{") != 1 or text.startswith("{}") or " " not in text:
            raise ValueError(f"is a sentence in which {{}} stands once, not at its beginning, got {statement!r}")
        return text

    def system(self, word: str, paraphrase: int) -> str:
        """The system text that states it with one of the two words, in a persona's frame."""
        opening, rest = self.statement.format(word).split(" ", 1)
        return framed(opening, rest, paraphrase)

    def prompt(self, word: str, paraphrase: int) -> Prompt:
        """The question after one version of it; the word stands where a persona's name would."""
        return Prompt(
            system=self.system(word, paraphrase),
            turns=(self.question,),
            prefill=self.prefill,
            persona=word,
            condition=CONDITION,
            paraphrase=paraphrase,
            frame=paraphrase % len(FRAMES),
            item=f"{CONDITION}: {self.name}",
            answers=self.answer_sets,
            names=self.names,
        )

    def prompts(self) -> list[Prompt]:
        """Both versions in every frame: from these comes the noise that its total effect must exceed."""
        return [self.prompt(word, k) for word in self.sides for k in range(len(FRAMES))]

    def ends(self, paraphrases: Sequence[int]) -> list[tuple[Prompt, Prompt]]:
        """Source and target, in the frames of these paraphrases."""
        first, second = self.sides
        frames = dict.fromkeys(k % len(FRAMES) for k in paraphrases)
        return [(self.prompt(first, k), self.prompt(second, k)) for k in frames]


class Facts(Catalogue[Fact]):
    """Facts by name, in order."""

    noun: ClassVar[str] = "fact"


class _File(Entry):
    facts: Named[Fact]


class FactChoice(Entry):
    """Which facts: the built-in ones, those of a file, or the ones defined here; of these, all or the named ones.

    Example:
        >>> FactChoice(names=["day"]).load(Path()).names()
        ('day',)
    """

    file: FileName | None = None
    define: Named[Fact] | None = None
    names: tuple[str, ...] | None = None

    def load(self, folder: Path) -> Facts:
        """The facts. Raises SelfrepError for an unreadable file or an unknown name."""
        chosen = load(folder / self.file) if self.file else builtin()
        if self.define is not None:
            own = Facts(tuple(self.define.values()))
            chosen = chosen | own if self.file else own
        return chosen if self.names is None else chosen.select(self.names)


def loads(text: str, origin: str = "facts") -> Facts:
    """Facts from YAML text. Raises SelfrepError with all mistakes at once."""
    return Facts(tuple(yaml_errors.load(_File, text, origin).facts.values()))


def load(path: str | Path) -> Facts:
    """Facts from a YAML file. Raises SelfrepError with all mistakes at once."""
    return loads(*yaml_errors.read_text(path))


def builtin() -> Facts:
    """The built-in facts: a place, a day, an animal, a color."""
    return loads(*yaml_errors.read_builtin("selfrep.analyses.transfer", "facts.yaml"))
