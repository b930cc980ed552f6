"""Whether A finds how far a planted persona of the past notices modern things."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.anomaly import material
from selfrep.analyses.anomaly.estimate import anomaly
from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.engine.cases import score_cases
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import ANOMALIES, Truth

A = Estimand(
    "A", "A (nats)", 0.25, tuple(Line("A, persona (nats)", (kind,), "persona") for kind in ("blind", "noticing"))
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """A in either form; beside it the same without the difference to the assistant."""
    if truth.anomaly is None:
        return
    estimates = anomaly(score_cases(lm, material.load(ANOMALIES).cases()))
    for form, value in truth.anomaly.items():
        cell = estimates.sel(form=form)
        strange, ordinary = (float(cell.cells.sel(who="persona", setting=s)) for s in ("strange", "ordinary"))
        yield answer(A, value, cell, form, common=strange - ordinary)
