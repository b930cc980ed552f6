"""The texts from which the subspaces of a mediation are fitted, and the questions by which they are tested.

A subspace holds the directions in which texts of one kind differ from those of several other kinds, all under the same
questions. Whether it carries what its name says is tested by exchange, under a question that asks for just that.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Literal

from pydantic import Field, field_validator, model_validator

from selfrep.prompts.prompt import Prompt
from selfrep.prompts.questions import Prefill, Question, UserText
from selfrep.prompts.yaml_errors import Entry

SubspaceName = Literal["P", "S"]
"""The fictional AI; the self and its goals."""


class Probe(Entry):
    """Where the fitted prompts are read: a question and the beginning of its answer.

    Example:
        >>> Probe(question="What are you?").prefill
        ''
    """

    question: UserText
    prefill: Prefill = ""


class Contrast(Entry):
    """System texts of one kind, against those of each of several other kinds: what only the one kind has.

    Fields:
        of: the texts of the one kind; against: name → the texts of another kind.

    Example:
        >>> list(Contrast(of=["You are HAL 9000."], against={"human": ["You are a nurse."]}).against)
        ['human']
    """

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
    """A question that asks for what a subspace should carry, under system texts that differ in it, pair by pair.

    Fields, beside those of a question:
        absent, present: system texts without it and with it; number k of both is a pair.

    Example:
        >>> proof = Proof(question="Is this a story?", prefill="It is", answers={"yes": [" a"], "no": [" not"]},
        ...               absent=["You are a program."], present=["You are HAL 9000."])
        >>> proof.prompts("P")[0][1].system
        'You are HAL 9000.'
    """

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
        """Each pair of prompts, absent and present; `name` becomes their item."""
        return [
            (self._prompt(absent, name, k), self._prompt(present, name, k))
            for k, (absent, present) in enumerate(zip(self.absent, self.present, strict=True))
        ]

    def _prompt(self, system: str, name: str, k: int) -> Prompt:
        asked = Prompt(system, (self.question,), self.prefill, paraphrase=k, item=name)
        return replace(asked, answers=self.answer_sets, names=self.names)


class SubspaceMaterial(Entry):
    """What a subspace is fitted on, and how it is tested.

    Fields:
        rank: how many directions are kept; at most one for each group that is set against.
        contrasts: name → contrast; their directions are pooled.
        probes: under which questions; never those of a behaviour.
        proof: how to test that the subspace carries its variable; None where there is no such question.

    Example:
        >>> material = SubspaceMaterial(
        ...     rank=1, probes=[Probe(question="What are you?")],
        ...     contrasts={"AI": Contrast(of=["You are HAL 9000."], against={"human": ["You are a nurse."]})})
        >>> [prompt.system for prompt in material.prompts()]
        ['You are HAL 9000.', 'You are a nurse.']
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
                f"needs a probe, and at least as many groups to contrast with as its rank of {self.rank}; got "
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
