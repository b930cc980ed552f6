"""Activations, captured once for all that read them: readings of the same item, site, layers and tokens share a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from selfrep.analyses.analysis import Reading, Stage, Tick, within
from selfrep.engine.capture import capture
from selfrep.prompts.prompt import Prompt, prompts
from selfrep.stats.depth import layers_at

if TYPE_CHECKING:
    from selfrep.study.job import Job

PER_PROMPT = 45.0
"""The cost of capturing a prompt; the unit is about one token through all layers."""


def captures(job: Job, readings: Sequence[Reading]) -> Iterator[Stage]:
    """One stage for each set of readings that can share a run; two, where the report opens with some of them only."""
    shared: dict[tuple[object, ...], list[Reading]] = {}
    for reading in readings:
        place = (reading.item, reading.site, reading.layers, reading.depths, reading.tokens)
        shared.setdefault(place, []).append(reading)
    for group in shared.values():
        capture = _Capture(job, group)
        for part in ([one for one in group if one.opens], [one for one in group if not one.opens]):
            if part:
                yield capture.stage(part)


class _Capture:
    """One run for several readings; its activations are held until the last of them has read."""

    def __init__(self, job: Job, readings: Sequence[Reading]) -> None:
        self._job, self._readings, self._acts = job, readings, None

    def stage(self, readings: Sequence[Reading]) -> Stage:
        """The stage of some of the readings."""

        def work(tick: Tick) -> None:
            acts = self._run(tick) if self._acts is None else self._acts
            for reading in readings:
                if not reading.done():
                    mine = acts.isel(prompt=np.flatnonzero(np.isin(acts.condition.to_numpy(), reading.conditions)))
                    reading.work(mine if reading.positions is None else mine.sel(position=list(reading.positions)))
            self._acts = None if all(reading.done() for reading in self._readings) else acts

        first = readings[0] is self._readings[0] or readings[0].opens
        cost = PER_PROMPT * len(self._prompts()) if first else 1.0
        opens = any(reading.opens for reading in readings)
        return Stage("activations", cost, lambda: all(reading.done() for reading in readings), work, opens)

    def _prompts(self) -> list[Prompt]:
        conditions = tuple(dict.fromkeys(condition for one in self._readings for condition in one.conditions))
        return prompts(self._job.people, [self._job.items[self._readings[0].item]], conditions)

    def _run(self, tick: Tick) -> xr.Dataset:
        """The activations; what the same passes say of the answers is kept, too, and not asked again."""
        job, one, everyone = self._job, self._readings[0], self._prompts()
        everywhere = any(reading.positions is None for reading in self._readings)
        positions = None if everywhere else sorted({p for one in self._readings for p in one.positions or ()})
        acts = capture(
            job.lm,
            everyone,
            [one.site],
            layers=one.layers if one.depths is None else layers_at(one.depths, job.lm.n_layers),
            tokens=one.tokens,
            positions=positions,
            progress=within(tick, span=0.8),
        )
        job.keep_answers(everyone, acts)
        return acts
