"""What a study would run, before it runs: its steps with their prompts and patched runs, the time, the memory.

Nothing is loaded but the tokenizer and the configuration, and nothing is written. The time is that of the arithmetic,
at the speed of one matrix product of the model's width on the device: it tells minutes from hours, and no more.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from selfrep.analyses.analysis import Stage
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import DTYPES
from selfrep.models.size import Size
from selfrep.prompts.unread import Unread
from selfrep.stats.numbers import number, with_unit
from selfrep.store.run_directory import RunDirectory
from selfrep.study.job import Job
from selfrep.study.preflight import preflight
from selfrep.study.readable import Readable, nothing_lost, readable
from selfrep.study.study import Study

EFFICIENCY = 0.4
"""The share of the speed of a matrix product that whole runs reach: what the built-in demo took on two cores."""
TOKENS = 256
"""In the matrix product that is timed: about as many as a pass holds."""
NOWHERE = Path(os.devnull)
"""Where nothing was ever run."""
TRIALS = 20
"""How often it is timed: on a busy machine all but a few are slowed down by others."""


@dataclass(frozen=True)
class Forecast:
    """What a study would run.

    Fields:
        study: what is asked, of which model, as that itself.
        stages: its steps in order, those that are done left out.
        seconds: about how long they take; None where too little is known of the model.
        weights, activations: bytes of memory, of the weights and of what the largest step keeps; None likewise.
        left_out: what falls away and why, a sentence a line; "" where nothing does.
    """

    study: Study
    stages: tuple[Stage, ...]
    seconds: float | None
    weights: float | None
    activations: float | None
    left_out: str = ""

    @property
    def prompts(self) -> int:
        """How many prompts are read in all steps."""
        return sum(stage.prompts for stage in self.stages)

    @property
    def cells(self) -> int:
        """How many patched runs are made in all steps."""
        return sum(stage.cells for stage in self.stages)

    @property
    def sentence(self) -> str:
        """How much it is in all, about how long it takes, and in how much memory."""
        said = [f"{self.prompts:,} prompts at most, and {self.cells:,} patched runs"]
        if self.seconds is None or self.weights is None or self.activations is None:
            return f"{said[0]}. How long they take is known once the model is here."
        seconds = self.seconds
        unit, size = next((u, s) for u, s, below in _UNITS if seconds < below)
        said.append(f"about {with_unit(number(round(seconds / size, 1)), unit)}")
        said.append(
            f"{_gigabytes(self.weights)} of weights, and beside them {_gigabytes(self.activations)} of activations"
        )
        return "; ".join(said) + "."


_UNITS = (("seconds", 1, 90), ("minutes", 60, 5400), ("hours", 3600, float("inf")))


def _gigabytes(size: float) -> str:
    return with_unit(number(size / 1e9), "GB")


class Unrun(Job):
    """A study whose model is not there."""

    @cached_property
    def readable(self) -> Readable:
        """What the tokenizer leaves of the study; all of it where nobody knows the tokenizer."""
        if self.known is None:
            return Readable(self.study, Unread({}, {}, {}), {})
        return readable(self.study, self.known.chat, nothing_lost)

    @cached_property
    def lm(self) -> LanguageModel:
        """There is none. Raises SelfrepError."""
        raise SelfrepError("A step must be known before the model is loaded; this one asked for it.")


def forecast(study: Study, out: str | Path | None = None, *, device: str = "auto", **asked: Any) -> Forecast:
    """What `run_study` would run, without loading the model or writing anything.

    Args:
        study: what is asked.
        out: the run directory: what is done there already is left out. None: all of it is to do.
        device: on which it would run.
        asked: model, dtype, device_map, attn, chat_template, template_vars, identity, as in `selfrep.run_study`.

    Returns:
        `Forecast`: `stages`, each with `prompts` and `cells`, `seconds`, `weights` and `activations` (bytes).

    Raises:
        SelfrepError: a study that its model cannot be asked (see `selfrep.study.preflight`); the directory holds
            another study.

    Example:
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> files = {"personas": {"file": str(PERSONAS)}, "battery": {"file": str(BATTERY), "names": ["who_are_you"]}}
        >>> told = forecast(Study(name="mine", model="organism:separate", **files))
        >>> [(stage.name, stage.prompts) for stage in told.stages][0]
        ('answers to every item', 152)
    """
    cleared = preflight(study, device=device, **asked)
    study, known = cleared.study, cleared.known
    place = RunDirectory(NOWHERE if out is None else Path(out))
    begun = place.resumes(study.to_yaml(), study.hash)
    job = Unrun(study, place if begun else RunDirectory(NOWHERE), device, lambda message: None, known=known)
    stages = tuple(stage for stage in job.stages() if not stage.done())
    size = None if known is None else known.size
    return Forecast(
        study,
        stages,
        None if size is None else sum(stage.cost for stage in stages) * _seconds_per_token(size, study.dtype, device),
        None if size is None else float(size.parameters * DTYPES[study.dtype].itemsize),
        None if size is None else float(max((stage.bytes for stage in stages), default=0)),
        "\n".join(cleared.left_out),
    )


def _seconds_per_token(size: Size, dtype: str, device: str) -> float:
    """How long a token takes through all layers, by the best of a few matrix products."""
    import torch

    from selfrep.models import devices

    place = devices.device(device)
    x, w = (
        torch.ones(shape, dtype=DTYPES[dtype], device=place) for shape in ((TOKENS, size.d_model), (size.d_model,) * 2)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several wait for the slowest of them, and on a busy machine that tells nothing
    try:
        best = min(_timed(x, w) for _ in range(TRIALS)) / (threads if place.type == "cpu" else 1)
    finally:
        torch.set_num_threads(threads)
    return 2 * size.active * best / (2 * TOKENS * size.d_model**2) / EFFICIENCY


def _timed(x: Any, w: Any) -> float:
    started = time.perf_counter()
    (x @ w).sum().item()
    return time.perf_counter() - started
