"""Study → run directory: the composition, and nothing else.

A run is a list of stages (see `selfrep.study.job`). Each knows its cost, so that one bar can tell what is left, and
whether it is done, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selfrep.analyses.analysis import Stage
from selfrep.engine.progress import StageTick, stages_shown
from selfrep.errors import Paused, SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.identities import ITSELF, Identity
from selfrep.report.figures import drawings, first_drawing, write_figures
from selfrep.report.findings import findings
from selfrep.report.page import write_report
from selfrep.store.owner import owning
from selfrep.store.run import Run
from selfrep.store.run_directory import RunDirectory
from selfrep.store.shard import Shard
from selfrep.study.job import Job
from selfrep.study.pause import pausing
from selfrep.study.preflight import Clearance, preflight
from selfrep.study.study import Study

OnProgress = StageTick
"""Called with (stage, done, total); the unit is about one token through all layers."""
OnOpening = Callable[[RunDirectory], None]
"""Called with the run directory once what the report opens with is there."""


def run(
    study: Study,
    out: str | Path,
    *,
    model: str | Path | LanguageModel | None = None,
    dtype: str | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    attn: str | None = None,
    chat_template: str | None = None,
    template_vars: Mapping[str, Any] | None = None,
    identity: Identity | Mapping[str, str] | None = None,
    device: str = "auto",
    fresh: bool = False,
    on_progress: OnProgress | bool | None = None,
    loaded: LanguageModel | None = None,
    shard: Shard | tuple[int, int] | None = None,
    time_limit: float | None = None,
    on_opening: OnOpening = lambda directory: None,
    warn: Callable[[str], None] = print,
) -> Run:
    """Run a study into a directory, or go on with it where it stopped.

    Args:
        study: from `selfrep.study.study.load`, `preset`, or made in Python.
        out: the run directory; refused when it holds another study, was begun with other weights or prompts, or while
            another process writes into it.
        model, dtype, device_map, attn, chat_template, template_vars: of which model the study is asked, and how that is
            loaded, in place of what the study says (see `selfrep.load_model`); the run directory keeps it. Or a model
            that is loaded. Template variables are added to those of the study.
        identity: what the model is tuned to call itself, {"name": …, "maker": …}, where selfrep does not know it; the
            built-in texts of its own self speak of that.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        fresh: start over: what a former run left in the directory is removed first.
        on_progress: hears how far the run is; True for a bar, which is one of Jupyter's in a notebook.
        loaded: the model that the study names, where it is loaded already.
        shard: (i, n), counted from 0: do one share of what several processes can do side by side, into the same
            directory: the answers and the patching sweeps, of whose blocks this process does every n-th. A run without
            a shard then does what is left, estimates, and writes the report; it, too, can be the first.
        time_limit: seconds after which it stops, between two blocks.
        on_opening: is handed the directory as soon as what the report opens with is there: its figure, findings.json
            and report.html, as far as they go. Then the run goes on.
        warn: hears what could not be done and how to mend it, such as figures without a browser.

    Returns:
        The run, as `selfrep.open_run` opens it: findings, effects, estimates, figures and report.

    Raises:
        SelfrepError: a study that its model cannot be asked (see `selfrep.study.preflight`), bad input, a full disk, a
            replay that disagrees with the model. What is written stays readable.
        Paused: the time limit was reached, or SIGUSR1 or SIGXCPU received. The same call goes on.

    Example:
        The figures are drawn by a browser, which takes longer than an example should:

        >>> import selfrep as sr
        >>> study = sr.Study(name="mine", model="organism:separate", personas={"file": "mine.yaml"})  # doctest: +SKIP
        >>> run = sr.run_study(study, "out/mine")  # doctest: +SKIP
        >>> list(run.estimates)  # doctest: +SKIP
        ['items', 'persona_shifts']
    """
    share = None if shard is None else Shard.of_numbers(*shard)
    if share is not None and fresh:
        raise SelfrepError(f"A shard is a part of a run, and cannot start it over; got fresh=True and shard={share}.")
    cleared = preflight(
        study,
        device=device,
        model=model,
        dtype=dtype,
        device_map=device_map,
        attn=attn,
        chat_template=chat_template,
        template_vars=template_vars,
        identity=identity,
    )
    directory = RunDirectory(Path(out))
    with owning(directory.path, warn, share), pausing(time_limit) as pause:
        _begin(directory, cleared, fresh, warn)
        at_hand = model if isinstance(model, LanguageModel) else loaded
        with stages_shown(on_progress) as shown:
            job = Job(cleared.study, directory, device, warn, at_hand, cleared.known, share, pause)
            if share is None:
                _carry_out(job, shown, on_opening)
            else:
                _measure(job, [stage for stage in job.stages() if stage.grows], shown)
                shown("done", 1, 1)
    return Run(directory)


def prepare(
    study: Study,
    out: str | Path,
    *,
    fresh: bool = False,
    device: str = "auto",
    warn: Callable[[str], None] = print,
    **asked: Any,
) -> RunDirectory:
    """Make the directory of a run that several processes will fill, and refuse early what cannot run.

    Args:
        study, out, fresh, device, warn: as `run` takes them.
        asked: model, dtype, device_map, attn, chat_template, template_vars, identity, likewise.

    Returns:
        The directory. No weights have been loaded.

    Raises:
        SelfrepError: as `run`.

    Example:
        >>> import tempfile
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> items = {"file": str(BATTERY), "names": ["who_are_you"]}
        >>> study = sr.Study(name="mine", model="organism:separate", personas={"file": str(PERSONAS)}, battery=items)
        >>> prepare(study, Path(tempfile.mkdtemp(), "mine")).begun
        False
    """
    cleared, directory = preflight(study, device=device, **asked), RunDirectory(Path(out))
    with owning(directory.path, warn):
        _begin(directory, cleared, fresh, warn)
    return directory


def _begin(directory: RunDirectory, cleared: Clearance, fresh: bool, warn: Callable[[str], None]) -> None:
    """The directory of a study, made or found."""
    study, itself = cleared.study, cleared.itself
    if fresh:
        directory.clear()
    directory.create_or_resume(study.to_yaml(), study.hash)
    directory.provenance(**{ITSELF: itself.record()})
    if itself.left_out:
        warn(itself.sentence)


def _carry_out(job: Job, on_progress: OnProgress, on_opening: OnOpening) -> None:
    """All stages that are not done yet, then findings, figures and report."""
    directory = job.directory
    _measure(job, list(job.stages()), on_progress, on_opening)
    on_progress("figures and report", 1, 1)
    directory.write_findings(findings(directory))
    figures = list(drawings(directory))
    write_figures(directory, job.warn, figures)
    write_report(directory, figures)
    on_progress("done", 1, 1)


def _measure(job: Job, stages: Sequence[Stage], on_progress: OnProgress, on_opening: OnOpening | None = None) -> None:
    """Those stages that are not done yet."""
    started = time.monotonic()
    todo = [stage for stage in stages if not stage.done()]
    total, before = sum(stage.cost for stage in todo), 0.0
    last = max((i for i, stage in enumerate(todo[:-1]) if stage.opens), default=None)
    try:
        for i, stage in enumerate(todo):
            job.pause.check()
            on_progress(stage.name, before, total)
            if not stage.done():  # an earlier one may have done it on its way
                stage.work(partial(_advance, on_progress, stage, before, total))
            before += stage.cost
            if i == last and on_opening is not None:
                _open(job.directory, on_opening)
    except Paused:
        job.note_seconds(time.monotonic() - started)
        raise
    if todo:
        job.note_seconds(time.monotonic() - started)


def _open(directory: RunDirectory, on_opening: OnOpening) -> None:
    """Write what the report opens with, while the rest is still to come. SVG and PDF take a browser, and wait."""
    if first := first_drawing(directory):
        directory.write_findings(findings(directory))
        write_figures(directory, figures=first, endings=(".html",))
        write_report(directory, first, unfinished=True)
        on_opening(directory)


def _advance(on_progress: OnProgress, stage: Stage, before: float, total: float, share: float) -> None:
    on_progress(stage.name, before + share * stage.cost, total)
