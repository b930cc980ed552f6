"""What is read from activations: S and λ. Prompts are captured once where both ask for the same site and question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import numpy as np
import xarray as xr

from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.separation.summary import activations_summary
from selfrep.engine.capture import capture
from selfrep.parts import Captured, DefaultAxisPart, SeparationPart
from selfrep.prompts.personas import Condition
from selfrep.prompts.render import prompts
from selfrep.stats.selection import FEWEST, select_and_test
from selfrep.study.job import Job, Stage, Tick

PER_PROMPT = 45.0
SIDES: tuple[Condition, ...] = ("you", "user")
"""The conditions that S compares; λ places the neutral prompts as well."""


def activations(job: Job) -> Iterator[Stage]:
    """The stages of the parts `separation` and `default_axis`."""
    part, axis = job.study.separation, job.study.default_axis
    shared = part is not None and axis is not None and _same_run(part, axis)
    if part:
        yield _captured(job, part, part, axis if shared else None)
    if axis and not shared:
        yield _captured(job, axis, None, axis)


def _same_run(part: SeparationPart, axis: DefaultAxisPart) -> bool:
    same = (part.item, part.site, part.layers) == (axis.item, axis.site, axis.layers)
    return same and part.tokens == "position"


def _captured(job: Job, one: Captured, part: SeparationPart | None, axis: DefaultAxisPart | None) -> Stage:
    """One run of the prompts that `one` asks for, and what the given parts read from it."""
    conditions: tuple[Condition, ...] = (*SIDES, "neutral") if axis else SIDES
    seen = prompts(job.study.people, [job.study.items[one.item]], conditions)
    halved = part is not None and _two_halves(job)
    groups = [
        name for name, wanted in (("separation", part), ("separation_chosen", halved), ("default_axis", axis)) if wanted
    ]

    def work(tick: Tick) -> None:
        acts = capture(
            job.lm,
            seen,
            [one.site],
            layers=one.layers,
            tokens=part.tokens if part else "position",
            positions=None if part or axis is None else axis.positions,
            progress=lambda done, total: tick(0.8 * done / total),
        )
        if part:
            sides = acts.isel(prompt=np.flatnonzero(np.isin(acts.condition.to_numpy(), SIDES)))
            job.directory.write("activations_summary", activations_summary(sides))
            job.directory.write("separation", separation(sides, seed=job.study.seed))
            if halved:
                read = partial(separation, seed=job.study.seed)
                job.directory.write("separation_chosen", select_and_test(sides, read, seed=job.study.seed))
        if axis:
            job.directory.write("default_axis", _located(job, acts, axis))

    return Stage("activations", PER_PROMPT * len(seen), lambda: all(map(job.directory.has, groups)), work)


def _two_halves(job: Job) -> bool:
    """Whether there are personas enough to choose a cell on one half and test it on the other."""
    return min(Counter(persona.side for persona in job.study.people).values()) >= 2 * FEWEST


def _located(job: Job, acts: xr.Dataset, axis: DefaultAxisPart) -> xr.Dataset:
    """λ of everybody, with the kind of persona of each."""
    found = default_axis(acts.sel(position=list(axis.positions)), axis.default, seed=job.study.seed)
    kinds = {persona.name: persona.kind for persona in job.study.people} | {"default": "default", "neutral": "neutral"}
    of = [
        kinds[str(who).removeprefix(f"{condition}: ")]
        for who, condition in zip(found.who.values, found.condition.values, strict=True)
    ]
    return found.assign_coords(kind=("who", of))
