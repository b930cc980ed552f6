"""Activations, captured once for all that read them, and kept: readings of one item, site and tokens share a run.

All activations of a large model do not fit a computer's memory: those of 250 prompts at 30 tokens in 80 layers of 8,192
dimensions take 20 GB. So a few layers are captured at a time, all prompts are run again for the next ones, and what is
kept of each layer (see `selfrep.stats.isometry`) goes to disk. Readings work on that, and read it layer by layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from selfrep.analyses.analysis import Reading, Stage, Tick, within
from selfrep.engine.capture import capture
from selfrep.prompts.chat import ChatFormat
from selfrep.prompts.prompt import Prompt, prompts
from selfrep.prompts.render import SEGMENTS, own_length, render
from selfrep.stats.depth import layers_at
from selfrep.stats.geometry import standardised
from selfrep.stats.isometry import compact, expanded

if TYPE_CHECKING:
    from selfrep.store.run_directory import RunDirectory
    from selfrep.study.job import Job

PER_PROMPT = 45.0
"""The cost of capturing a prompt; the unit is about one token through all layers."""
ROOM = 1e9
"""How many bytes activations may take in memory: so many layers are captured at once, or one. What is kept of them is
read into memory where it takes no more, and layer by layer otherwise."""
ON_ITS_WAY = 4
"""How many copies of a layer there are while it goes to disk: of a reading, on one scale, its factor, for the file."""
MASSIVE = "massive_dimensions"
UNREAD = "unread"
"""The attribute of activations that are kept, but not read yet."""


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
    """One run for several readings. The first stage that lacks activations captures those of all."""

    def __init__(self, job: Job, readings: Sequence[Reading]) -> None:
        self._job, self._readings = job, readings

    def stage(self, readings: Sequence[Reading]) -> Stage:
        """The stage of some of the readings."""
        directory = self._job.directory

        def done() -> bool:
            return all(_done(directory, reading) for reading in readings)

        def work(tick: Tick) -> None:
            if any(_lacking(directory, reading) for reading in readings):
                self._run([one for one in self._readings if _lacking(directory, one)], tick)
            for reading in readings:
                if not _done(directory, reading):
                    read_again(directory, reading)
                    _settle(directory, reading)

        first = readings[0] is self._readings[0] or readings[0].opens
        n = len(self._prompts) if first else 0
        opens = any(reading.opens for reading in readings)
        cost = max(PER_PROMPT * n * max(len(self._foreseen), 1), 1.0)
        return Stage("activations", cost, done, work, opens, prompts=n, bytes=self._bytes() if first else 0)

    @cached_property
    def _prompts(self) -> list[Prompt]:
        conditions = tuple(dict.fromkeys(condition for one in self._readings for condition in one.conditions))
        return prompts(self._job.people, [self._job.items[self._readings[0].item]], conditions)

    def _layer_bytes(self, chat: ChatFormat, d_model: int) -> int:
        """What one layer takes."""
        if self._readings[0].tokens == "segment":
            n = len(SEGMENTS)
        elif (positions := self._positions) is None:
            n = max(own_length(render(prompt, chat)) for prompt in self._prompts)
        else:
            n = len(positions)
        return len(self._prompts) * n * d_model * np.dtype("float32").itemsize

    @property
    def _positions(self) -> list[int] | None:
        if any(reading.positions is None for reading in self._readings):
            return None
        return sorted({p for reading in self._readings for p in reading.positions or ()})

    @cached_property
    def _foreseen(self) -> list[list[int]]:
        """The layers of each pass; none where too little is known of the model."""
        known = self._job.known
        if known is None or known.n_layers is None or known.d_model is None:
            return []
        return _portions(self._readings, known.n_layers, self._layer_bytes(known.chat, known.d_model))

    def _bytes(self) -> int:
        """What activations take at once: those of a pass, and a layer on its way to disk; 0 where nobody knows."""
        known = self._job.known
        if not self._foreseen or known is None or known.d_model is None:
            return 0
        return (max(map(len, self._foreseen)) + ON_ITS_WAY) * self._layer_bytes(known.chat, known.d_model)

    def _run(self, readings: Sequence[Reading], tick: Tick) -> None:
        """Keep the activations of these readings."""
        lm = self._job.lm
        portions = _portions(readings, lm.n_layers, self._layer_bytes(lm.chat, lm.d_model))
        with ExitStack() as stack:
            keepers = [_Keeper(one, stack.enter_context(self._job.directory.growing(one.group, "layer")))
                       for one in readings]  # fmt: skip
            for i, layers in enumerate(portions):
                self._pass(layers, keepers, within(tick, 0.8 * i / len(portions), 0.8 / len(portions)))

    def _pass(self, layers: list[int], keepers: Sequence[_Keeper], progress: Callable[[int, int], None]) -> None:
        """All prompts once."""
        job, one, everyone = self._job, self._readings[0], self._prompts
        acts = capture(
            job.lm,
            everyone,
            [one.site],
            layers=layers,
            tokens=one.tokens,
            positions=self._positions,
            budget_gb=math.inf,  # a layer that is larger than `ROOM` is captured all the same
            progress=progress,
        )
        for layer in layers:
            for keeper in keepers:
                if layer in _layers(keeper.reading, job.lm.n_layers):
                    keeper.keep(acts.sel(layer=[layer]))


@dataclass(frozen=True)
class _Keeper:
    """What keeps the activations of a reading, layer by layer."""

    reading: Reading
    append: Callable[[xr.Dataset], None]
    massive: set[int] = field(default_factory=set)

    def keep(self, acts: xr.Dataset) -> None:
        """Keep what the reading asks for, of the activations of one layer that others read, too."""
        mine = acts.isel(prompt=np.flatnonzero(np.isin(acts.condition.to_numpy(), self.reading.conditions)))
        mine = mine if self.reading.positions is None else mine.sel(position=list(self.reading.positions))
        if self.reading.standardised:
            mine = standardised(mine)
            self.massive.update(mine.attrs[MASSIVE])
            mine.attrs[MASSIVE] = sorted(self.massive)
        self.append(compact(mine).assign_attrs({UNREAD: True}))


def _portions(readings: Iterable[Reading], n_layers: int, each: int) -> list[list[int]]:
    """The layers of these readings in as few portions as there is room for, of about one size."""
    layers = sorted({layer for reading in readings for layer in _layers(reading, n_layers)})
    at_once = max(1, int(ROOM // each))
    return [part.tolist() for part in np.array_split(layers, -(-len(layers) // at_once))]


def _layers(reading: Reading, n_layers: int) -> tuple[int, ...]:
    if reading.depths is not None:
        return layers_at(reading.depths, n_layers)
    return tuple(range(n_layers)) if reading.layers is None else reading.layers


def _done(directory: RunDirectory, reading: Reading) -> bool:
    there = all(map(directory.has, (*reading.makes, reading.group)))
    return there and not directory.attributes(reading.group).get(UNREAD)


def _lacking(directory: RunDirectory, reading: Reading) -> bool:
    """Whether activations are to be captured: none are kept, or only a part of those that have been read before."""
    waiting = directory.has(reading.group) and directory.attributes(reading.group).get(UNREAD)
    return not waiting and not _done(directory, reading)


def _settle(directory: RunDirectory, reading: Reading) -> None:
    """Leave the activations that are kept, and say that they have been read."""
    if reading.kept is None:
        directory.annotate(reading.group, lambda known: {UNREAD: False})
        return
    acts = directory.read(reading.group, most=ROOM)
    directory.write(reading.group, acts.sel(position=list(reading.kept)).assign_attrs({UNREAD: False}))


def read_again(directory: RunDirectory, reading: Reading) -> None:
    """Make what a reading makes, from the activations that are kept.

    Raises:
        SelfrepError: they are not kept.
    """
    reading.work(expanded(directory.read(reading.group, most=ROOM)))
