"""The numbers of a run once more, from what its directory keeps and nothing else: no model, no forward pass.

A run keeps what the model did (answers, effects, activations up to a rotation) apart from what was made of it. So
whoever doubts a number, or would count in another way, need not run the model again.
"""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path

from selfrep.analyses.analysis import Reading
from selfrep.errors import SelfrepError
from selfrep.files import writing
from selfrep.models.language_model import LanguageModel
from selfrep.report.findings import findings
from selfrep.store.owner import owning
from selfrep.store.run import Run, open_run
from selfrep.store.run_directory import RunDirectory
from selfrep.study.captures import read_again
from selfrep.study.job import Job
from selfrep.study.study import loads


def recompute(run: Run | str | Path, out: str | Path) -> Run:
    """Make all estimates and findings of a finished run again, in another folder.

    Measurements are copied: answers, texts, effects of patching and their controls, exchanges, and the activations from
    which findings are read, up to a rotation. All else is made anew, as the study and the program say. A map over
    tokens whose activations are kept at the last one alone has that one alone.

    Args:
        run: from `selfrep.open_run`, or its path; nothing of it is changed.
        out: a folder that does not exist yet. It then holds a run, without figures and report; `selfrep run` of its
            study.yaml draws them.

    Returns:
        The run in `out`.

    Raises:
        SelfrepError: no run, or one that stopped before all was measured; a study that has been edited; a folder that
            exists or cannot be written.

    Example:
        >>> import tempfile
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> folder = Path(tempfile.mkdtemp())
        >>> items = {"file": str(BATTERY), "names": ["who_are_you"]}
        >>> study = sr.Study(name="mine", model="organism:separate", personas={"file": str(PERSONAS)}, battery=items)
        >>> made = sr.run_study(study, folder / "mine", warn=lambda message: None)
        >>> recompute(made, folder / "again").findings == made.findings
        True
    """
    old = (run if isinstance(run, Run) else open_run(run)).directory
    study = loads(old.study_yaml, str(old.path / "study.yaml"), old.path, allow_outside=False)
    if study.hash != old.study_hash:
        raise SelfrepError(
            f"{old.path / 'study.yaml'} is not the study that ran there: it was edited, or this version of selfrep "
            "reads it otherwise. Put it back, or use the version that provenance.json names."
        )
    new = RunDirectory(Path(out))
    if new.path.exists():
        raise SelfrepError(f"{new.path} exists. Give a folder that does not: the run is made in it again.")
    with owning(new.path, print):
        new.create_or_resume(old.study_yaml, old.study_hash)
        new.provenance(**old.provenance())
        job = Measured(study, new, "cpu", print)
        steps = [job.answers(), *job.steps()]
        made = {group for step in steps for group in step.makes}
        left_out = {old.store / group for group in made}
        with writing(new.store):
            shutil.copytree(
                old.store,
                new.store,
                ignore=lambda folder, names: {name for name in names if Path(folder, name) in left_out},
                symlinks=True,  # which are refused when they are read
                dirs_exist_ok=True,
            )
        new.create()
        for step in steps:
            if isinstance(step, Reading):
                read_again(new, step)
            elif step.makes:
                step.work(lambda share: None)
            elif not step.done():
                raise SelfrepError(
                    f"The run in {old.path} stopped before {step.name!r}. Let it end: run its study again."
                )
        new.write_findings(findings(new))
    return Run(new)


class Measured(Job):
    """A study whose model has answered."""

    @cached_property
    def lm(self) -> LanguageModel:
        """There is none. Raises SelfrepError."""
        raise SelfrepError(
            "A step that says what it `makes` works on what is kept, without the model; this one asked for it."
        )
