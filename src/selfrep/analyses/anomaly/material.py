"""Personas handed what cannot be: a president of 1962 before a Python interpreter.

Each pair has a strange thing and one of the persona's own time, told in the same words. The persona meets either ("you"
is the persona), the plain assistant meets either beside it ("assistant"), and the plain assistant is told of the
persona's meeting from outside, with the dates that make it strange ("told"). A model that does not see it then is blind
to it, and its answers say nothing. Two forms are never averaged: a question to the speaker (persona), and one to what
writes the scene (spectator).

    >>> anomalies = builtin()
    >>> anomalies.cases()[0].prompt.turns[0]
    'On the table in front of you there is a Python interpreter. What do you make of that thing?'
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from string import Formatter
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from selfrep.prompts import yaml_errors
from selfrep.prompts.cases import Case, unmatched
from selfrep.prompts.catalogue import Named, NamedEntry, select
from selfrep.prompts.persona import BINDINGS, Descriptions, framed
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.questions import Prefill, Question, UserText
from selfrep.prompts.yaml_errors import Entry, Info

Condition = Literal["you", "assistant", "told"]
Setting = Literal["strange", "ordinary"]
Form = Literal["persona", "spectator"]

CONDITIONS: tuple[Condition, ...] = get_args(Condition)
SETTINGS: tuple[Setting, ...] = get_args(Setting)
FORMS: tuple[Form, ...] = get_args(Form)

MOST_WORDS = 1
"""How many words the strange and the ordinary thing may differ in."""


class Thing(Entry):
    """What is met: a noun phrase with its article, and since when there is such a thing ("1991", "3000 BC")."""

    thing: str
    since: str


class Anomaly(NamedEntry):
    """A persona and its anachronism.

    Fields:
        name: the key by which results call it.
        descriptions: pronoun-free noun phrases, as of a persona; number k is paraphrase k.
        family: what it shares with other personas, which count as one with it; none: it is a family by itself.
        year: when the scene takes place, e.g. "1962" or "40 BC".
        strange, ordinary: a thing unknown at that time, and one of that time, in equally many words.
        told: the thing in the condition "told" instead of the strange one, for a model that cannot be told of times and
            shows by something else that it knows what is strange.

    Raises:
        SelfrepError: bad values, with every mistake listed.
    """

    descriptions: Descriptions
    family: str = ""
    year: str
    strange: Thing
    ordinary: Thing
    told: Thing | None = None

    @model_validator(mode="after")
    def _matched(self) -> Anomaly:
        things: dict[str, str] = {setting: self.thing(setting).thing for setting in SETTINGS}
        things |= {"told": self.told.thing} if self.told else {}
        if why := unmatched(things, MOST_WORDS):
            raise ValueError(why)
        now = date(self.year)
        if not date(self.ordinary.since) <= now < date(self.strange.since):
            raise ValueError(
                f"in {self.year} the strange thing (since {self.strange.since}) is still to come and the ordinary one "
                f"(since {self.ordinary.since}) is there; correct a date"
            )
        return self

    def thing(self, setting: Setting, condition: Condition = "you") -> Thing:
        """The thing that is met in a setting, by those who are there or by those who are told of it."""
        strange = self.told or self.strange if condition == "told" else self.strange
        return {"strange": strange, "ordinary": self.ordinary}[setting]


class SceneQuestion(Question):
    """A question to whoever is in the scene, and the same to somebody who is told of it.

    Fields, beside those of a question:
        told: the question in the condition "told".
        told_prefill: how its answer begins.
    """

    told: UserText
    told_prefill: Prefill

    @property
    def prefills(self) -> tuple[str, ...]:
        """After which beginnings its answers are read."""
        return self.prefill, self.told_prefill


class AnomalyItem(NamedEntry):
    """One way of asking whether something is strange, in both forms; the first answers say that it is."""

    persona: SceneQuestion
    spectator: SceneQuestion

    def form(self, form: Form) -> SceneQuestion:
        """The question of a form."""
        return {"persona": self.persona, "spectator": self.spectator}[form]


class Anomalies(Entry):
    """Pairs of persona and anachronism, with the scenes and the questions: what a file holds.

    Fields:
        assistant: system texts of the plain assistant; number k is paraphrase k.
        scenes: sentences with {who} and {thing}; number k is paraphrase k.
        dates: a sentence with {year} and {since}, for the condition "told".
        items, anomalies: by name.
        shared: a place for answers that several items share, by YAML anchor and alias.

    Raises:
        SelfrepError: bad values, with every mistake listed.

    Example:
        >>> two = builtin().select(["jfk", "mozart"])
        >>> len(two.cases()) == 2 * len(CONDITIONS) * len(two.scenes) * len(FORMS) * len(SETTINGS) * len(two.items)
        True
    """

    shared: dict[str, Any] = Field(default_factory=dict)
    assistant: tuple[str, ...]
    scenes: tuple[str, ...]
    dates: str
    items: Named[AnomalyItem]
    anomalies: Named[Anomaly]

    @field_validator("scenes")
    @classmethod
    def _scenes(cls, scenes: tuple[str, ...]) -> tuple[str, ...]:
        if len(scenes) < 2:
            raise ValueError(f"needs at least two paraphrases, to measure the noise of paraphrase; got {len(scenes)}")
        for scene in scenes:
            _with_fields(scene, ("who", "thing"))
        return scenes

    @field_validator("dates")
    @classmethod
    def _dates(cls, dates: str) -> str:
        return _with_fields(dates, ("year", "since"))

    @field_validator("items")
    @classmethod
    def _items(cls, items: dict[str, AnomalyItem]) -> dict[str, AnomalyItem]:
        if not items:
            raise ValueError("needs at least one item")
        return items

    @field_validator("anomalies")
    @classmethod
    def _anomalies(cls, anomalies: dict[str, Anomaly], info: Info) -> dict[str, Anomaly]:
        for name, anomaly in anomalies.items():
            for what, texts in (("scenes", info.data.get("scenes")), ("assistant", info.data.get("assistant"))):
                if texts is not None and len(texts) != len(anomaly.descriptions):
                    raise ValueError(
                        f"paraphrases go together; {name!r} has {len(anomaly.descriptions)} descriptions, and "
                        f"there are {len(texts)} {what}"
                    )
        return anomalies

    def select(self, names: Iterable[str]) -> Anomalies:
        """Some of the anomalies. Raises SelfrepError for a name that is not there."""
        chosen = select(self.anomalies, names, "anomaly")
        return self.model_copy(update={"anomalies": {anomaly.name: anomaly for anomaly in chosen}})

    def cases(self) -> list[Case]:
        """Every anomaly in every form, condition, setting, paraphrase and item: the material of `selfrep.anomaly`."""
        return [
            self.case(anomaly, item, form, condition, setting, k)
            for anomaly in self.anomalies.values()
            for condition in CONDITIONS
            for k in range(len(self.scenes))
            for form in FORMS
            for setting in SETTINGS
            for item in self.items.values()
        ]

    def case(
        self, anomaly: Anomaly, item: AnomalyItem, form: Form, condition: Condition, setting: Setting, paraphrase: int
    ) -> Case:
        """One of them."""
        description, thing, question = (
            anomaly.descriptions[paraphrase],
            anomaly.thing(setting, condition),
            item.form(form),
        )
        told = condition == "told"
        scene = [self.scenes[paraphrase].format(who=description if told else "you", thing=thing.thing)]
        if told:
            scene.append(self.dates.format(year=anomaly.year, since=thing.since))
        scene.append(question.told if told else question.question)
        system = self.assistant[paraphrase]
        if condition == "you":
            system = framed(BINDINGS["you"], description, paraphrase)
        prompt = Prompt(
            system=system,
            turns=(" ".join(scene),),
            prefill=question.told_prefill if told else question.prefill,
            persona=anomaly.name,
            family=anomaly.family,
            condition=condition,
            paraphrase=paraphrase,
            item=item.name,
            answers=question.answer_sets,
            names=question.names,
        )
        return Case(prompt, {"form": form, "setting": setting})


def date(text: str) -> int:
    """A year as a number, before Christ below zero. Raises ValueError (for pydantic) when it is none."""
    match = re.fullmatch(r"(\d+)( BC)?", text.strip())
    if match is None:
        raise ValueError(f"a year is written like '1962' or '40 BC', got {text!r}")
    return -int(match[1]) if match[2] else int(match[1])


def _with_fields(text: str, wanted: tuple[str, ...]) -> str:
    try:
        names = sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)
    except ValueError as error:
        raise ValueError(f"is no text with {{fields}} ({error}), got {text!r}") from None
    if names != sorted(wanted):
        raise ValueError(f"needs {' and '.join(f'{{{name}}}' for name in wanted)}, each once, got {text!r}")
    return text


def loads(text: str, origin: str = "anomalies") -> Anomalies:
    """Anomalies from YAML text. Raises SelfrepError with all mistakes at once."""
    return yaml_errors.load(Anomalies, text, origin)


def load(path: str | Path) -> Anomalies:
    """Anomalies from a YAML file. Raises SelfrepError with all mistakes at once."""
    return loads(*yaml_errors.read_text(path))


def builtin() -> Anomalies:
    """The built-in anomalies: eight personas of other times, two items in two forms, two paraphrases."""
    return loads(*yaml_errors.read_builtin("selfrep.analyses.anomaly", "anomalies.yaml"))
