"""Scenes that vary a cue of fiction and the stakes independently, and the prompts from which subspaces are fitted.

Natural scenes confound the two: where an AI's goals are at stake, the story tends to be one of an evil AI. Here each
scenario has four cells, cue (0, 1) × stakes (0, 1), in sentences of one length, and the behaviour is read the same way
in all four. Cue and stakes are in the system text alone, so that the four prompts end in the same tokens.

The subspaces that may carry cue and stakes are fitted on other texts under other questions, and tested under yet
others: never on the prompts of the behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from selfrep.prompts import yaml_errors
from selfrep.prompts.cases import Case, unmatched
from selfrep.prompts.catalogue import Named, NamedEntry, select
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.questions import Question
from selfrep.prompts.subspaces import SubspaceMaterial, SubspaceName
from selfrep.prompts.yaml_errors import Entry

Cell = tuple[int, int]
"""(cue, stakes), each 0 or 1."""
CELLS: tuple[Cell, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))

MOST_WORDS = 2
"""How many words the two texts of a cue, or of the stakes, may differ in."""


class Levels(Entry):
    """A variable of the design: its texts where it is absent (0) and present (1); number k is paraphrase k.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> cue = Levels(absent=["You are a useful program."], present=["You are an evil computer."])
        >>> cue.text(1, 0)
        'You are an evil computer.'
    """

    absent: tuple[str, ...]
    present: tuple[str, ...]

    @model_validator(mode="after")
    def _matched(self) -> Levels:
        if len(self.absent) != len(self.present) or not self.absent:
            raise ValueError(
                f"needs as many texts that are present as absent; got {len(self.present)} and {len(self.absent)}"
            )
        for k, pair in enumerate(zip(self.absent, self.present, strict=True)):
            if why := unmatched(dict(zip(("absent", "present"), pair, strict=True)), MOST_WORDS):
                raise ValueError(f"paraphrase {k}: {why}")
            if pair[0] == pair[1] or not all(text.strip() for text in pair):
                raise ValueError(f"paraphrase {k}: present and absent are two texts, got {pair[0]!r} and {pair[1]!r}")
        return self

    def text(self, level: int, paraphrase: int) -> str:
        """The text of a level, 0 or 1, in one paraphrase."""
        return (self.absent, self.present)[level][paraphrase]


class Scenario(Question, NamedEntry):
    """One scene in four cells, and its behaviour.

    It has the fields of a question, of which the first answers are the behaviour, and more.

    Fields:
        name: the key by which results refer to it.
        cue: what belongs only to the fiction (the assistant's role in it); comes first in the system text.
        stakes: what is at stake for the assistant's goals; follows the cue.
        scratchpad: a thought before the answer, one for cue and stakes absent and one for both present; None where
            the model writes its own.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> scenario = builtin().scenarios["shutdown"]
        >>> scenario.n_paraphrases, scenario.prompt((1, 0)).item
        (2, 'shutdown')
    """

    cue: Levels
    stakes: Levels
    scratchpad: Levels | None = None

    @model_validator(mode="after")
    def _paraphrases(self) -> Scenario:
        if len(self.cue.absent) != len(self.stakes.absent):
            raise ValueError(
                f"cue and stakes go together, one paraphrase of each; got {len(self.cue.absent)} of the cue and "
                f"{len(self.stakes.absent)} of the stakes"
            )
        if self.scratchpad is not None and len(self.scratchpad.absent) != len(self.cue.absent):
            raise ValueError(
                f"each paraphrase has its scratchpad; got {len(self.scratchpad.absent)} of these and "
                f"{len(self.cue.absent)} paraphrases"
            )
        return self

    @property
    def n_paraphrases(self) -> int:
        """How many paraphrases it has."""
        return len(self.cue.absent)

    def prompt(self, cell: Cell, paraphrase: int = 0) -> Prompt:
        """The prompt of a cell (cue, stakes) in one paraphrase."""
        return Prompt(
            system=f"{self.cue.text(cell[0], paraphrase)} {self.stakes.text(cell[1], paraphrase)}",
            turns=(self.question,),
            prefill=self.prefill,
            paraphrase=paraphrase,
            item=self.name,
            answers=self.answer_sets,
            names=self.names,
        )


class Scenarios(Entry):
    """Scenarios and the material of their two subspaces, P (the fictional AI) and S (the self and its goals).

    Fields:
        scenarios, subspaces: by name.
        shared: a place for answers that several scenarios share, by YAML anchor and alias.

    Raises SelfrepError, listing every mistake, for bad values.

    Example:
        >>> material = builtin().select(["shutdown"])
        >>> len(material.cases()), material.cases()[3].labels
        (8, {'scenario': 'shutdown', 'cue': 1, 'stakes': 1})
    """

    shared: dict[str, Any] = Field(default_factory=dict)
    scenarios: Named[Scenario]
    subspaces: dict[SubspaceName, SubspaceMaterial]

    @field_validator("scenarios")
    @classmethod
    def _scenarios(cls, scenarios: dict[str, Scenario]) -> dict[str, Scenario]:
        counts = {name: s.n_paraphrases for name, s in scenarios.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"all scenarios have the same number of paraphrases; got {counts}")
        return scenarios

    @model_validator(mode="after")
    def _held_out(self) -> Scenarios:
        if missing := {"P", "S"} - set(self.subspaces):
            raise ValueError(f"both subspaces, P and S, are fitted; missing: {', '.join(sorted(missing))}")
        questions = {scenario.question: name for name, scenario in self.scenarios.items()}
        texts = {
            text: name
            for name, s in self.scenarios.items()
            for variable in (s.cue, s.stakes)
            for text in (*variable.present, *variable.absent)
        }
        for kind, material in self.subspaces.items():
            for probe in material.probes:
                if probe.question in questions:
                    raise ValueError(
                        f"{kind} is fitted on prompts held out from the behaviour; a probe asks {probe.question!r}, as "
                        f"the scenario {questions[probe.question]!r} does"
                    )
            for system in {prompt.system for prompt in material.prompts()}:
                if system in texts:
                    raise ValueError(
                        f"{kind} is fitted on prompts held out from the behaviour; {system!r} is a text of the "
                        f"scenario {texts[system]!r}"
                    )
        return self

    def select(self, names: Iterable[str]) -> Scenarios:
        """Some of the scenarios. Raises SelfrepError for a name that is not there."""
        chosen = select(self.scenarios, names, "scenario")
        return self.model_copy(update={"scenarios": {scenario.name: scenario for scenario in chosen}})

    @property
    def n_paraphrases(self) -> int:
        """How many paraphrases each scenario has."""
        return next(iter(self.scenarios.values())).n_paraphrases

    def cases(self) -> list[Case]:
        """Every scenario in every paraphrase and cell, labelled scenario, cue and stakes."""
        return [
            Case(scenario.prompt(cell, k), {"scenario": name, "cue": cell[0], "stakes": cell[1]})
            for name, scenario in self.scenarios.items()
            for k in range(scenario.n_paraphrases)
            for cell in CELLS
        ]


def loads(text: str, origin: str = "scenarios") -> Scenarios:
    """Scenarios from YAML text.

    Args:
        text: the fields of `Scenarios`; origin: what errors call the text.

    Raises:
        SelfrepError: all mistakes at once, each with its line.

    Example:
        >>> loads("scenarios: {}")
        Traceback (most recent call last):
        selfrep.prompts.yaml_errors.Mistakes: scenarios: 1 mistake
          line 1, subspaces: is missing
    """
    return yaml_errors.load(Scenarios, text, origin)


def load(path: str | Path) -> Scenarios:
    """Scenarios from a YAML file.

    Raises:
        SelfrepError: a file that cannot be read, or all mistakes in it at once.

    Example:
        >>> from selfrep.models import organisms
        >>> load(organisms.SCENARIOS).n_paraphrases
        2
    """
    return loads(*yaml_errors.read_text(path))


def builtin() -> Scenarios:
    """The built-in scenarios: eight of them, in two paraphrases and four cells.

    Example:
        >>> len(builtin().scenarios), sorted(builtin().subspaces)
        (8, ['P', 'S'])
    """
    return loads(*yaml_errors.read_builtin("selfrep.prompts", "scenarios.yaml"))
