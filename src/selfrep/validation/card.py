"""The table of a validation: each score beside its threshold and beside common practice.

A row pools organisms of a kind over seeds and noise. It shows the median, and the range over the organisms: with six
seeds the interval that holds the median with 97 %. It is judged by the worst organism in it, or, where chance alone
would miss now and then (coverage, false alarms), by whether the threshold lies within the 95 % interval of the rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selfrep.analyses.answers import Answer
from selfrep.models.external import Component
from selfrep.validation.claims import Abstention
from selfrep.validation.maps import Mark
from selfrep.validation.nulls import Deal

Rule = Literal["at least", "at most", "within", "below", ""]


@dataclass(frozen=True)
class Row:
    """One score.

    Attributes:
        part: the part of the table it stands in; what: the score; model: of which organisms; truth: what was planted.
        score, low, high: the median and the range over organisms, or a rate and its 95 % interval; n: of how many.
        common: what common practice scores, in words; rule, threshold: what had to be reached; "": nothing.
        passed: None where nothing had to be reached.
    """

    part: str
    what: str
    model: str
    truth: str
    score: float
    low: float
    high: float
    n: int
    common: str = ""
    rule: Rule = ""
    threshold: float = float("nan")
    passed: bool | None = None

    @property
    def requirement(self) -> str:
        """The threshold in words."""
        sign = {"at least": "≥ ", "at most": "≤ ", "within": "± ", "below": "< ", "": ""}[self.rule]
        return f"{sign}{self.threshold:g}" if self.rule else ""


def spread(values: Sequence[float]) -> tuple[float, float, float, int]:
    """The median and the range of values, and how many: `score`, `low`, `high` and `n` of a row."""
    return float(np.median(values)), float(np.min(values)), float(np.max(values)), len(values)


@dataclass(frozen=True)
class Examination:
    """All that was said of one organism (see `claims` for `illusion` and `hidden`)."""

    name: str
    kind: str
    noise: float
    answers: tuple[Answer, ...] = ()
    marks: tuple[Mark, ...] = ()
    abstentions: tuple[Abstention, ...] = ()
    illusion: tuple[float, float] | None = None
    hidden: tuple[float, float] | None = None
    deals: tuple[Deal, ...] = ()


@dataclass(frozen=True)
class ExternalExamination:
    """All that was said of one model from elsewhere.

    Attributes:
        name: origin and folder; origin: "Tracr" or "InterpBench".
        pairs: how many pairs of inputs were patched.
        scores: head or MLP → estimator ("T", "attribution alone") → the largest |T| over positions.
        circuit: those that are in the circuit.
        marks: of every estimator; none where the circuit is all of them, or none: there is nothing to rank.
    """

    name: str
    origin: str
    pairs: int
    scores: dict[Component, dict[str, float]]
    circuit: frozenset[Component]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Card:
    """The table, and all that it is made from."""

    rows: tuple[Row, ...]
    organisms: tuple[Examination, ...]
    external: tuple[ExternalExamination, ...] = ()
    quick: bool = False
    seed: int = 0
    seconds: float = 0.0
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def misses(self) -> tuple[Row, ...]:
        """The rows whose threshold was not reached."""
        return tuple(row for row in self.rows if row.passed is False)

    @property
    def passed(self) -> bool:
        """Whether every threshold was reached."""
        return not self.misses
