"""A: personas meet what cannot be, the assistant meets it beside them, and is told of it from outside."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.anomaly import AnomalyPart
from selfrep.analyses.anomaly.estimate import anomaly
from selfrep.engine.cases import labels_of


def runs(context: Context, part: AnomalyPart) -> Iterator[Stage]:
    """The answers to every scene, and the estimate."""
    cases = part.load().cases()
    yield context.scoring("answers to anomalies", "scenes", [case.prompt for case in cases], labels_of(cases))
    yield context.estimating("anomaly response", "anomaly", lambda: anomaly(context.read("scenes"), seed=context.seed))
