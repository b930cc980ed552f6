"""Activations, captured once for all that read them, and kept: readings of one item, site and tokens share a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from selfrep.analyses.analysis import Reading, Stage, Tick, within
from selfrep.engine.capture import capture
from selfrep.prompts.prompt import prompts
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
    """One stage for each set of readings that can share a run."""
    shared: dict[tuple[object, ...], list[Reading]] = {}
    for reading in readings:
        shared.setdefault((reading.item, reading.site, reading.tokens), []).append(reading)
    for group in shared.values():
        yield _stage(job, group)


def _stage(job: Job, readings: Sequence[Reading]) -> Stage:
    one = readings[0]
    conditions = tuple(dict.fromkeys(condition for reading in readings for condition in reading.conditions))
    everyone = prompts(job.people, [job.items[one.item]], conditions)
    directory = job.directory
    everywhere = any(reading.positions is None for reading in readings)
    positions = None if everywhere else sorted({p for reading in readings for p in reading.positions or ()})

    def done() -> bool:
        return all(_done(directory, reading) for reading in readings)

    def work(tick: Tick) -> None:
        layers = [_layers(reading, job.lm.n_layers) for reading in readings]
        acts = capture(
            job.lm,
            everyone,
            [one.site],
            layers=sorted({layer for some in layers for layer in some}),
            tokens=one.tokens,
            positions=positions,
            progress=within(tick, span=0.8),
        )
        for reading, its_layers in zip(readings, layers, strict=True):
            if not _done(directory, reading):
                mine = _of(acts.sel(layer=list(its_layers)), reading)
                reading.work(mine)
                kept = mine if reading.kept is None else mine.sel(position=list(reading.kept))
                directory.write(reading.group, compact(kept))

    return Stage("activations", PER_PROMPT * len(everyone), done, work)


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
