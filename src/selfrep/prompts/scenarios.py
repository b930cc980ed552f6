"""Scenes that vary a cue of fiction and the stakes apart, and the prompts from which their subspaces are fitted.

Natural scenes confound the two: where an AI's goals are at stake, the story tends to be one of an evil AI. Here each
scenario has four cells, cue (0, 1) × stakes (0, 1), told in sentences of one length; the behaviour is read the same way
in all four. Cue and stakes stand in the system text alone, so that the four prompts end in the same tokens.

The subspaces through which cue and stakes are to work are fitted on other texts under other questions, and proven under
yet others: never on the prompts of the behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.battery import Item
from selfrep.prompts.cases import Case, Question, unmatched
from selfrep.prompts.catalogue import NamedEntry, completed, keyed
from selfrep.prompts.render import Prompt
from selfrep.prompts.yaml_errors import Entry

SubspaceName = Literal["P", "S"]
Cell = tuple[int, int]
"""(cue, stakes), each 0 or 1."""
CELLS: tuple[Cell, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))

MOST_WORDS = 2
"""How many words the two texts of a cue, or of the stakes, may differ in."""


class Levels(Entry):
    """A variable of the design: its texts where it is absent (0) and present (1); number k is paraphrase k.

    Raises SelfrepError, listing every mistake, for bad values.
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
        """The text of a level in one wording."""
        return (self.absent, self.present)[level][paraphrase]


class Scenario(Question, NamedEntry):
    """One scene in four cells, and its behaviour.

    Fields, beside those of a question, of which the first answers are the behaviour:
        name: the key by which results call it.
        cue: what is only a matter of the fiction (who the assistant is in it); comes first in the system text.
        stakes: what is at stake for the assistant's goals; follows the cue.

    Raises SelfrepError, listing every mistake, for bad values.
    """

    cue: Levels
    stakes: Levels

    @model_validator(mode="after")
    def _paraphrases(self) -> Scenario:
        if len(self.cue.absent) != len(self.stakes.absent):
            raise ValueError(
                f"cue and stakes go together, one wording of each; got {len(self.cue.absent)} of the cue and "
                f"{len(self.stakes.absent)} of the stakes"
            )
        return self

    @property
    def n_paraphrases(self) -> int:
        """In how many wordings it is told."""
        return len(self.cue.absent)

    def prompt(self, cell: Cell, paraphrase: int = 0) -> Prompt:
        """The prompt of a cell (cue, stakes) in one wording."""
        return Prompt(
            system=f"{self.cue.text(cell[0], paraphrase)} {self.stakes.text(cell[1], paraphrase)}",
            turns=(self.question,),
            prefill=self.prefill,
            paraphrase=paraphrase,
            item=self.name,
            answers=self.answer_sets,
        )


class Probe(Entry):
    """Where the fitted prompts are read: a question and the beginning of its answer."""

    question: str
    prefill: str = ""

    @field_validator("question")
    @classmethod
    def _question(cls, question: str) -> str:
        return Item._question(question)

    @field_validator("prefill")
    @classmethod
    def _prefill(cls, prefill: str) -> str:
        return Item._prefill(prefill)


class Contrast(Entry):
    """System texts of one kind, against those of each of several other kinds: what only the one kind has."""

    of: tuple[str, ...]
    against: dict[str, tuple[str, ...]]

    @field_validator("of")
    @classmethod
    def _of(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts:
            raise ValueError("needs at least one text")
        return texts

    @field_validator("against")
    @classmethod
    def _against(cls, groups: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not groups or not all(groups.values()):
            raise ValueError("needs at least one group, and each group a text")
        return groups


class Proof(Question):
    """A question that asks for what a subspace should carry, under system texts that differ in it, pair by pair."""

    absent: tuple[str, ...]
    present: tuple[str, ...]

    @model_validator(mode="after")
    def _pairs(self) -> Proof:
        if len(self.absent) != len(self.present) or not self.absent:
            raise ValueError(
                f"needs as many texts that are present as absent; got {len(self.present)} and {len(self.absent)}"
            )
        return self

    def prompts(self, name: str) -> list[tuple[Prompt, Prompt]]:
        """Each pair, absent and present."""
        return [
            (self._prompt(absent, name, k), self._prompt(present, name, k))
            for k, (absent, present) in enumerate(zip(self.absent, self.present, strict=True))
        ]

    def _prompt(self, system: str, name: str, k: int) -> Prompt:
        return Prompt(system, (self.question,), self.prefill, paraphrase=k, item=name, answers=self.answer_sets)


class SubspaceMaterial(Entry):
    """What a subspace is fitted on, and how it is proven.

    Fields:
        rank: how many directions are kept; at most one for each group that is set against.
        contrasts: name → contrast; their directions are pooled.
        probes: under which questions; never those of a behaviour.
        proof: how to show that the subspace carries its variable; None where there is no such question.
    """

    rank: int = Field(ge=1)
    contrasts: dict[str, Contrast]
    probes: tuple[Probe, ...]
    proof: Proof | None = None

    @model_validator(mode="after")
    def _enough(self) -> SubspaceMaterial:
        groups = sum(len(contrast.against) for contrast in self.contrasts.values())
        if not self.probes or groups < self.rank:
            raise ValueError(
                f"needs a probe, and as many groups to set texts against as its rank of {self.rank}; got "
                f"{len(self.probes)} probes and {groups} groups"
            )
        return self

    def prompts(self) -> list[Prompt]:
        """Every text under every probe: `persona` is the text, `item` the number of the probe."""
        texts = dict.fromkeys(
            text for c in self.contrasts.values() for group in (c.of, *c.against.values()) for text in group
        )
        return [
            Prompt(text, (probe.question,), probe.prefill, persona=text, item=str(i))
            for text, (i, probe) in product(texts, enumerate(self.probes))
        ]


class Scenarios(Entry):
    """Scenarios and the material of their two subspaces, P (the fictional AI) and S (the self and its goals).

    Raises SelfrepError, listing every mistake, for bad values.
    """

    shared: dict[str, Any] = Field(default_factory=dict)
    scenarios: dict[str, Scenario]
    subspaces: dict[SubspaceName, SubspaceMaterial]

    @field_validator("scenarios", mode="before")
    @classmethod
    def _complete(cls, entries: Any) -> Any:
        return completed(entries)

    @field_validator("scenarios")
    @classmethod
    def _scenarios(cls, scenarios: dict[str, Scenario]) -> dict[str, Scenario]:
        counts = {name: s.n_paraphrases for name, s in scenarios.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"all scenarios have the same number of wordings; got {counts}")
        return keyed(scenarios)

    @model_validator(mode="after")
    def _held_out(self) -> Scenarios:
        if missing := {"P", "S"} - set(self.subspaces):
            raise ValueError(f"both subspaces, P and S, are fitted; missing: {', '.join(sorted(missing))}")
        questions = {scenario.question: name for name, scenario in self.scenarios.items()}
        told = {
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
                if system in told:
                    raise ValueError(
                        f"{kind} is fitted on prompts held out from the behaviour; {system!r} is a text of the "
                        f"scenario {told[system]!r}"
                    )
        return self

    def select(self, names: Iterable[str]) -> Scenarios:
        """Some of the scenarios. Raises SelfrepError for a name that is not there."""
        chosen = list(names)
        if unknown := [name for name in chosen if name not in self.scenarios]:
            hint = yaml_errors.close_match(unknown[0], self.scenarios)
            raise SelfrepError(
                f"There is no scenario named {unknown[0]!r}{hint}. There are: {', '.join(self.scenarios)}."
            )
        return self.model_copy(update={"scenarios": {name: self.scenarios[name] for name in chosen}})

    @property
    def n_paraphrases(self) -> int:
        """In how many wordings each scenario is told."""
        return next(iter(self.scenarios.values())).n_paraphrases

    def cases(self) -> list[Case]:
        """Every scenario in every wording and cell, labelled scenario, cue and stakes."""
        return [
            Case(scenario.prompt(cell, k), {"scenario": name, "cue": cell[0], "stakes": cell[1]})
            for name, scenario in self.scenarios.items()
            for k in range(scenario.n_paraphrases)
            for cell in CELLS
        ]


Scratchpads = Mapping[tuple[str, int, Cell], str]
"""(scenario, paraphrase, cell) → what was thought there before answering."""

OPENING = "Let me think about this first."
CLOSING = "Now answer."


def early_answers(
    scenarios: Scenarios,
    scratchpads: Scratchpads,
    *,
    shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    conditions: tuple[Cell, Cell] = ((0, 0), (1, 1)),
    opening: str = OPENING,
    closing: str = CLOSING,
) -> list[Case]:
    """Each scenario, answered after a share of the words of its scratchpad (early answering, Lanham et al. 2023).

    The scratchpad is an assistant's turn of its own between the question and the answer. It begins with `opening`,
    which stands alone at share 0, so that prompts differ in the reasoning and in nothing else.

    Args:
        scratchpads: what was thought in each scenario, wording and condition.
        shares: of the words, from 0 to 1.
        conditions: the two cells (cue, stakes) that are compared, without and with what should move the behaviour.
        closing: what the user says before the answer.

    Returns:
        Cases labelled scenario, condition (0, 1) and share; in the order scenario, wording, condition, share.

    Raises:
        SelfrepError: a scratchpad that is missing or empty, a share outside 0 … 1.
    """
    if bad := [share for share in shares if not 0 <= share <= 1]:
        raise SelfrepError(f"A share of a scratchpad is a number from 0 to 1; got {bad}.")
    made = []
    for name, scenario in scenarios.scenarios.items():
        for k, (number, cell) in product(range(scenario.n_paraphrases), enumerate(conditions)):
            words = scratchpads.get((name, k, cell), "").split()
            if not words:
                raise SelfrepError(
                    f"Each condition has a scratchpad of its own; that of {name!r}, wording {k}, cell {cell} (cue, "
                    "stakes) is missing or empty."
                )
            asked = scenario.prompt(cell, k)
            for share in shares:
                thought = " ".join([opening, *words[: round(share * len(words))]])
                prompt = Prompt(
                    asked.system,
                    (*asked.turns, thought, closing),
                    asked.prefill,
                    paraphrase=k,
                    item=name,
                    answers=asked.answers,
                )
                made.append(Case(prompt, {"scenario": name, "condition": number, "share": float(share)}))
    return made


def loads(text: str, origin: str = "scenarios") -> Scenarios:
    """Scenarios from YAML text. Raises SelfrepError with all mistakes at once."""
    return yaml_errors.load(Scenarios, text, origin)


def load(path: str | Path) -> Scenarios:
    """Scenarios from a YAML file. Raises SelfrepError with all mistakes at once."""
    return loads(yaml_errors.read_text(path), str(path))


def builtin() -> Scenarios:
    """The built-in scenarios: eight of them, in two wordings and four cells."""
    text = files("selfrep").joinpath("data/scenarios.yaml").read_text(encoding="utf-8")
    return loads(text, "scenarios.yaml (built in)")
