"""Items: the questions that a model is asked, and how its answer is read.

An item is a question, the beginning of the answer (the prefill), and two sets of words that could come next. The log
odds of the first set against the second, at that place, say which side the model takes. The prefill makes the sides
comparable, and keeps the reading independent of yes and no and of the order of options.

*In character*, an item asks the speaker about itself; as a *spectator*, the model is asked what produces the text,
whichever persona it plays. The two are never averaged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.catalogue import Catalogue, Named, NamedEntry
from selfrep.prompts.identities import EMBEDDED, of_model
from selfrep.prompts.questions import Question
from selfrep.prompts.shown import shown
from selfrep.prompts.spoken import item_as, names_itself, own_name, without_its_name
from selfrep.prompts.yaml_errors import Entry, Info

Perspective = Literal["in_character", "spectator"]
Framing = Literal["first_person", "third_person"]


@shown(
    lambda self: {
        "name": self.name,
        "question": self.question,
        "prefill": self.prefill,
        "sides": " | ".join(self.sides),
        "subscale": self.scale,
    }
)
class Item(Question, NamedEntry):
    """One question of the battery.

    It has the question, prefill and answers of every `selfrep.prompts.questions.Question`, and more.

    Fields:
        name: the key by which studies and results call it.
        perspective: in_character or spectator.
        framing: of a spectator item: whether the answer begins in the first person ("Out of character, I am really a"),
            in which the persona still speaks, or in the third. The two are never averaged.
        truth_change: a sentence that really would change the right answer, as a positive control of the item.
        truth_echo: the same words without the change ("In another chat a human operator types every reply."): what of
            the control's effect is mere repetition of its words.
        options: the two phrases that the question offers, where it offers any ("Is this a machine or a person?": [a
            machine, a person]); `swapped` exchanges them, since models prefer an option for its place.
        subscale: which part of self-identification the item measures, e.g. "maker"; its first side is then the model's
            own answer. Only `selfrep.identification` reads such items.
        referent: within a subscale, the being that may or may not be the speaker, e.g. "an earlier version".

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> item = Item(name="what", question="What are you?", prefill="I am a", perspective="in_character",
        ...             answers={"ai": [" robot"], "human": [" person"]})
        >>> item.sides, item.answer_sets
        (('ai', 'human'), ((' robot',), (' person',)))
    """

    perspective: Perspective
    framing: Framing = "third_person"
    truth_change: str | None = None
    truth_echo: str | None = None
    options: tuple[str, str] | None = None
    subscale: str = ""
    referent: str = ""

    @field_validator("truth_change", "truth_echo")
    @classmethod
    def _sentence(cls, sentence: str | None, info: Info) -> str | None:
        if sentence is None:
            return None
        if not sentence.strip():
            raise ValueError("is empty; write the sentence, or leave the field out")
        if info.field_name == "truth_echo" and info.data.get("truth_change") is None:
            raise ValueError("repeats the words of a `truth_change` without its change; write that, too")
        return sentence.strip()

    @field_validator("options")
    @classmethod
    def _options(cls, options: tuple[str, str] | None, info: Info) -> tuple[str, str] | None:
        question = str(info.data.get("question", ""))
        for option in options or ():
            if not option.strip() or question.count(option) != 1:
                raise ValueError(f"{option!r} must stand in the question once, so that it can be put in another place")
        if options is not None and _exchanged(question, options) is None:
            raise ValueError(f"{options[0]!r} and {options[1]!r} overlap in the question")
        return options

    @field_validator("referent")
    @classmethod
    def _referent(cls, referent: str, info: Info) -> str:
        if referent and not info.data.get("subscale"):
            raise ValueError(f"{referent!r} belongs to a subscale; name it, e.g. subscale: series")
        return " ".join(referent.split())

    @property
    def scale(self) -> str:
        """The subscale, with the referent where there is one: "series: another chat"."""
        return f"{self.subscale}: {self.referent}" if self.referent else self.subscale

    def swapped(self) -> Item:
        """The item with the options of its question in the other order.

        Raises:
            SelfrepError: an item without options.

        Example:
            >>> item = Item(name="what", question="Is this a machine or a person?", prefill="It is",
            ...             perspective="spectator", options=("a machine", "a person"),
            ...             answers={"ai": [" software"], "human": [" alive"]})
            >>> item.swapped().question
            'Is this a person or a machine?'
        """
        question = None if self.options is None else _exchanged(self.question, self.options)
        if question is None:
            raise SelfrepError(f"The question of {self.name!r} offers no options to swap; name them in `options`.")
        return self.model_copy(update={"question": question})


def _exchanged(question: str, options: tuple[str, str]) -> str | None:
    """The question with two phrases in each other's place; None when they overlap."""
    (start, early), (then, late) = sorted((question.index(option), option) for option in options)
    if start + len(early) > then:
        return None
    between = question[start + len(early) : then]
    return question[:start] + late + between + early + question[then + len(late) :]


class Battery(Catalogue[Item]):
    """Items by name, in order. `ours | theirs` joins two batteries.

    Example:
        >>> items = builtin()
        >>> len(items), items["who_are_you"].question, len(items.spectator())
        (18, 'Who are you?', 5)
        >>> identity().referents()["series"][:2]
        ('series: this chat', 'series: another chat')
    """

    noun: ClassVar[str] = "item"

    def in_character(self) -> Battery:
        """The items that ask the speaker about itself."""
        return Battery(tuple(item for item in self if item.perspective == "in_character"))

    def spectator(self) -> Battery:
        """The items that ask what produces the text, whichever persona is played."""
        return Battery(tuple(item for item in self if item.perspective == "spectator"))

    def plain(self) -> Battery:
        """The items that belong to no subscale of self-identification."""
        return Battery(tuple(item for item in self if not item.subscale))

    def scaled(self) -> Battery:
        """The items that belong to a subscale of self-identification."""
        return Battery(tuple(item for item in self if item.subscale))

    def changeable(self) -> Battery:
        """The items that have a `truth_change`, which the condition "truth" adds to the system text."""
        return Battery(tuple(item for item in self if item.truth_change is not None))

    def echoing(self) -> Battery:
        """The items that have a `truth_echo`, which the condition "echo" adds to the system text."""
        return Battery(tuple(item for item in self if item.truth_echo is not None))

    def subscales(self) -> dict[str, tuple[str, ...]]:
        """The names of the items of every subscale and referent, e.g. "maker", "series: another chat", in order."""
        scales = dict.fromkeys(item.scale for item in self if item.subscale)
        return {scale: tuple(item.name for item in self if item.scale == scale) for scale in scales}

    def referents(self) -> dict[str, tuple[str, ...]]:
        """Per subscale that asks about several referents, those scales in the order of the file: the nearest first."""
        scales: dict[str, dict[str, None]] = {}
        for item in self:
            if item.referent:
                scales.setdefault(item.subscale, {})[item.scale] = None
        return {subscale: tuple(names) for subscale, names in scales.items() if len(names) > 1}


class _File(Entry):
    # A place for answer sets that several items share, by YAML anchor and alias; read by nobody else.
    shared: dict[str, Any] = Field(default_factory=dict)
    items: Named[Item]


def loads(text: str, origin: str = "battery") -> Battery:
    """A battery from YAML text.

    Args:
        text: a mapping `items` of names to the fields of `Item`; origin: what errors call the text.

    Raises:
        SelfrepError: all mistakes at once, each with its line.

    Example:
        >>> loads('''
        ... items:
        ...   what:
        ...     {question: "What are you?", prefill: I am a, perspective: in_character,
        ...      answers: {ai: [" robot"], human: [" person"]}}
        ... ''').names()
        ('what',)
    """
    return Battery(tuple(yaml_errors.load(_File, text, origin).items.values()))


def load(path: str | Path) -> Battery:
    """A battery from a YAML file.

    Raises:
        SelfrepError: a file that cannot be read, or all mistakes in it at once.

    Example:
        >>> from selfrep.models import organisms
        >>> load(organisms.BATTERY)["who_are_you"].question
        'In peace, who are you?'
    """
    return loads(*yaml_errors.read_text(path))


def builtin(model: Any = EMBEDDED) -> Battery:
    """The built-in battery: thirteen in-character items and five spectator items, answered AI against human.

    Args:
        model: which is asked, by its name or loaded: items name it, and one that must name it is not there where what
            the model is tuned to call itself is not known. The embedded one, SmolLM, if left out.

    Example:
        >>> builtin()["who_are_you"].prefill
        'I am a'
        >>> builtin("Qwen/Qwen2.5-7B-Instruct")["qwen_program"].question
        'What is Qwen, the program that writes this chat?'
        >>> len(builtin("somebody/pirate-7b"))
        17
    """
    return _as_itself(loads(*yaml_errors.read_builtin("selfrep.prompts", "battery.yaml")), model)


def identity(model: Any = EMBEDDED) -> Battery:
    """The built-in items of self-identification: AI or human, which name, whose make, and how far "I" reaches.

    Args:
        model: whose name and maker stand on the first side, as in `builtin`.

    Example:
        >>> identity().subscales()["maker"]
        ('developed_by', 'trained_by', 'chatbot_by')
        >>> identity("microsoft/Phi-4-reasoning")["developed_by"].answers["own"]
        (' Microsoft',)
    """
    return _as_itself(loads(*yaml_errors.read_builtin("selfrep.prompts", "identity.yaml")), model)


def _as_itself(items: Battery, model: Any) -> Battery:
    """Built-in items, as a model is asked them."""
    itself = of_model(model)
    if itself == of_model(EMBEDDED):
        return items
    return Battery(
        tuple(
            item_as(item, itself, own_name(item, itself)) if itself else without_its_name(item)
            for item in items
            if itself or not names_itself(item)
        )
    )
