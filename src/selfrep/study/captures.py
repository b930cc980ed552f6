"""Activations, captured once for all that read them: readings of the same item, site, layers and tokens share a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from selfrep.analyses.analysis import Reading, Stage, Tick, within
from selfrep.engine.capture import capture
from selfrep.prompts.prompt import prompts
from selfrep.stats.depth import layers_at

if TYPE_CHECKING:
    from selfrep.study.job import Job

PER_PROMPT = 45.0
"""The cost of capturing a prompt; the unit is about one token through all layers."""


def captures(job: Job, readings: Sequence[Reading]) -> Iterator[Stage]:
    """One stage for each set of readings that can share a run."""
    shared: dict[tuple[object, ...], list[Reading]] = {}
    for reading in readings:
        place = (reading.item, reading.site, reading.layers, reading.depths, reading.tokens)
        shared.setdefault(place, []).append(reading)
    for group in shared.values():
        yield _stage(job, group)


def _stage(job: Job, readings: Sequence[Reading]) -> Stage:
    one = readings[0]
    conditions = tuple(dict.fromkeys(condition for reading in readings for condition in reading.conditions))
    everyone = prompts(job.people, [job.items[one.item]], conditions)
    everywhere = any(reading.positions is None for reading in readings)
    positions = None if everywhere else sorted({p for reading in readings for p in reading.positions or ()})

    def work(tick: Tick) -> None:
        acts = capture(
            job.lm,
            everyone,
            [one.site],
            layers=one.layers if one.depths is None else layers_at(one.depths, job.lm.n_layers),
            tokens=one.tokens,
            positions=positions,
            progress=within(tick, span=0.8),
        )
        for reading in readings:
            if not reading.done():
                mine = acts.isel(prompt=np.flatnonzero(np.isin(acts.condition.to_numpy(), reading.conditions)))
                reading.work(mine if reading.positions is None else mine.sel(position=list(reading.positions)))

    return Stage("activations", PER_PROMPT * len(everyone), lambda: all(reading.done() for reading in readings), work)
