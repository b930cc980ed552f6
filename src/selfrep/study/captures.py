"""Activations, captured once for all that read them, and kept: readings of one item, site and tokens share a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from selfrep.analyses.analysis import Reading, Stage, Tick, within
from selfrep.engine.capture import capture
from selfrep.prompts.prompt import Prompt, prompts
from selfrep.prompts.render import SEGMENTS, own_length, render
from selfrep.stats.depth import layers_at
from selfrep.stats.geometry import standardised
from selfrep.stats.isometry import compact, expanded

if TYPE_CHECKING:
    import xarray as xr

    from selfrep.store.run_directory import RunDirectory
    from selfrep.study.job import Job

PER_PROMPT = 45.0
"""The cost of capturing a prompt; the unit is about one token through all layers."""


def captures(job: Job, readings: Sequence[Reading]) -> Iterator[Stage]:
    """One stage for each set of readings that can share a run; two, where the report opens with some of them only."""
    shared: dict[tuple[object, ...], list[Reading]] = {}
    for reading in readings:
        shared.setdefault((reading.item, reading.site, reading.tokens), []).append(reading)
    for group in shared.values():
        run = _Capture(job, group)
        for part in ([one for one in group if one.opens], [one for one in group if not one.opens]):
            if part:
                yield run.stage(part)


class _Capture:
    """One run for several readings; its activations are held until the last of them has read."""

    def __init__(self, job: Job, readings: Sequence[Reading]) -> None:
        self._job, self._readings = job, readings
        self._acts: xr.Dataset | None = None

    def stage(self, readings: Sequence[Reading]) -> Stage:
        """The stage of some of the readings."""
        directory = self._job.directory

        def done(some: Sequence[Reading] = readings) -> bool:
            return all(_done(directory, reading) for reading in some)

        def work(tick: Tick) -> None:
            acts = self._run(tick) if self._acts is None else self._acts
            for reading in readings:
                if not _done(directory, reading):
                    mine = _of(acts.sel(layer=list(_layers(reading, self._job.lm.n_layers))), reading)
                    reading.work(mine)
                    kept = mine if reading.kept is None else mine.sel(position=list(reading.kept))
                    directory.write(reading.group, compact(kept))
            self._acts = None if done(self._readings) else acts

        first = readings[0] is self._readings[0] or readings[0].opens
        n = len(self._prompts()) if first else 0
        opens = any(reading.opens for reading in readings)
        return Stage(
            "activations", max(PER_PROMPT * n, 1.0), done, work, opens, prompts=n, bytes=self._bytes() if first else 0
        )

    def _prompts(self) -> list[Prompt]:
        conditions = tuple(dict.fromkeys(condition for one in self._readings for condition in one.conditions))
        return prompts(self._job.people, [self._job.items[self._readings[0].item]], conditions)

    def _bytes(self) -> int:
        """What the activations take; 0 where too little is known of the model."""
        known, one, everyone = self._job.known, self._readings[0], self._prompts()
        if known is None or known.n_layers is None or known.d_model is None:
            return 0
        layers = {layer for reading in self._readings for layer in _layers(reading, known.n_layers)}
        places = {p for reading in self._readings for p in reading.positions or ()}
        n = len(SEGMENTS) if one.tokens == "segment" else len(places)
        if one.tokens == "position" and any(reading.positions is None for reading in self._readings):
            n = own_length(render(everyone[0], known.chat))
        return len(everyone) * len(layers) * n * known.d_model * np.dtype("float32").itemsize

    def _run(self, tick: Tick) -> xr.Dataset:
        """The activations; what the same passes say of the answers is kept, too, and not asked again."""
        job, one, everyone = self._job, self._readings[0], self._prompts()
        everywhere = any(reading.positions is None for reading in self._readings)
        positions = None if everywhere else sorted({p for one in self._readings for p in one.positions or ()})
        layers = {layer for reading in self._readings for layer in _layers(reading, job.lm.n_layers)}
        acts = capture(
            job.lm,
            everyone,
            [one.site],
            layers=sorted(layers),
            tokens=one.tokens,
            positions=positions,
            progress=within(tick, span=0.8),
        )
        job.keep_answers(everyone, acts)
        return acts


def _done(directory: RunDirectory, reading: Reading) -> bool:
    return all(map(directory.has, (*reading.makes, reading.group)))


def _layers(reading: Reading, n_layers: int) -> tuple[int, ...]:
    if reading.depths is not None:
        return layers_at(reading.depths, n_layers)
    return tuple(range(n_layers)) if reading.layers is None else reading.layers


def _of(acts: xr.Dataset, reading: Reading) -> xr.Dataset:
    """What a reading asked for, of activations that others read, too."""
    mine = acts.isel(prompt=np.flatnonzero(np.isin(acts.condition.to_numpy(), reading.conditions)))
    mine = mine if reading.positions is None else mine.sel(position=list(reading.positions))
    return standardised(mine) if reading.standardised else mine


def read_again(directory: RunDirectory, reading: Reading) -> None:
    """Make what a reading makes once more, from the activations that are kept.

    Raises:
        SelfrepError: they are not kept.
    """
    reading.work(expanded(directory.read(reading.group)))
