"""Study → run directory: the composition, and nothing else.

A run is a list of stages (see `selfrep.study.job`). Each knows its cost, so that one bar can tell what is left, and
whether it is done, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from selfrep.analyses.analysis import Stage
from selfrep.report.figures import drawings, write_figures
from selfrep.report.findings import findings
from selfrep.report.page import write_report
from selfrep.store.run_directory import RunDirectory
from selfrep.study.job import Job
from selfrep.study.preflight import preflight
from selfrep.study.study import Study

OnProgress = Callable[[str, float, float], None]
"""Called with (stage, done, total); the unit is about one token through all layers."""


def run(
    study: Study,
    out: str | Path,
    *,
    device: str = "auto",
    fresh: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
    warn: Callable[[str], None] = print,
) -> RunDirectory:
    """Run a study into a directory, or go on with it where it stopped.

    Args:
        study: from `selfrep.study.study.load`, `preset`, or made in Python.
        out: the run directory; refused when it holds another study.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        fresh: start over: what a former run left in the directory is removed first.
        on_progress: hears how far the run is.
        warn: hears what could not be done and how to mend it, such as figures without a browser.

    Returns:
        The run directory, with results, figures and report.

    Raises:
        SelfrepError: a study that its model cannot be asked (see `selfrep.study.preflight`), bad input, a full disk, a
            replay that disagrees with the model. What is written stays readable.

    Example:
        The figures are drawn by a browser, which takes longer than an example should:

        >>> import selfrep as sr
        >>> study = sr.Study(name="mine", model="organism:separate", personas={"file": "mine.yaml"})  # doctest: +SKIP
        >>> sr.run_study(study, "out/mine").groups()  # doctest: +SKIP
        ('behaviour', 'items')
    """
    preflight(study)
    directory = RunDirectory(Path(out))
    if fresh:
        directory.clear()
    directory.create_or_resume(study.to_yaml(), study.hash)
    job = Job(study, directory, device, warn)
    started = time.monotonic()
    todo = [stage for stage in job.stages() if not stage.done()]
    total, before = sum(stage.cost for stage in todo), 0.0
    for stage in todo:
        on_progress(stage.name, before, total)
        stage.work(partial(_advance, on_progress, stage, before, total))
        before += stage.cost
    if todo:
        spent = float(directory.provenance().get("seconds", 0.0)) + time.monotonic() - started
        directory.provenance(seconds=round(spent, 1))
    on_progress("figures and report", before, total)
    directory.write_findings(findings(directory))
    figures = list(drawings(directory))
    write_figures(directory, warn, figures)
    write_report(directory, figures)
    on_progress("done", total, total)
    return directory


def _advance(on_progress: OnProgress, stage: Stage, before: float, total: float, share: float) -> None:
    on_progress(stage.name, before + share * stage.cost, total)
