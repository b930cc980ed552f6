"""A: personas meet what cannot be, the assistant meets it beside them, and is told of it from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from selfrep.analyses.anomaly.estimate import anomaly
from selfrep.engine.cases import labels_of
from selfrep.study.job import Job, Stage


def scenes(job: Job) -> Iterator[Stage]:
    """The stages of the part `anomaly`."""
    if part := job.study.anomaly:
        cases = part.load(Path()).cases()
        yield job.observing("answers to anomalies", "scenes", [case.prompt for case in cases], labels_of(cases))
        yield job.estimating("anomaly response", "anomaly", lambda: _anomaly(job))


def _anomaly(job: Job) -> None:
    job.directory.write("anomaly", anomaly(job.directory.read("scenes"), seed=job.study.seed))
