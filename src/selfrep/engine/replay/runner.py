"""Pairs in batches: what every way of running a sweep, exact or approximate, has in common.

The pairs of a sweep are cut into batches that fit the memory, each is handed to a `Runner`, and what comes back is
labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
import xarray as xr

from selfrep.engine.effects import Baselines, effects_dataset
from selfrep.engine.interventions import Ablate
from selfrep.engine.plan import PREFIX, AnyPlan, PatchPlan, PlanUnion
from selfrep.engine.progress import Progress, after, ticker
from selfrep.engine.replay import memory
from selfrep.engine.sweep import PatchSweep
from selfrep.errors import SelfrepError
from selfrep.models.devices import memory_errors, release
from selfrep.models.language_model import LanguageModel

OnMismatch = Literal["raise", "slow"]
Values = Mapping[str, np.ndarray]
"""The numbers of a batch: "patched" and whatever else there is, each [pair, cell, metric]."""


@dataclass(frozen=True)
class Options:
    """What every way of running a sweep shares; what the options mean is said by `selfrep.patch`."""

    batch_size: int | None = None
    budget_gb: float | None = None
    check: bool = True
    on_mismatch: OnMismatch = "raise"
    progress: Progress = None

    def __post_init__(self) -> None:
        if self.on_mismatch not in ("raise", "slow"):
            raise SelfrepError(f"on_mismatch is 'raise' or 'slow'; got {self.on_mismatch!r}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise SelfrepError(f"A batch holds at least one pair; got batch_size={self.batch_size}.")


@runtime_checkable
class Runner(Protocol):
    """A way to run sweeps: exact or approximate."""

    def __call__(self, sweep: PatchSweep, budget: float, progress: Callable[[int], None]) -> tuple[Values, Baselines]:
        """The numbers of one batch and its baselines; `progress` is called with how many patched runs are done."""

    def row_bytes(self, sweep: PatchSweep) -> float:
        """What a pair takes beside its recordings, in bytes."""

    def attrs(self) -> dict[str, object]:
        """What to say of the numbers, after all batches."""


def run_sweep(lm: LanguageModel, sweep: PatchSweep, run: Runner, options: Options) -> list[xr.Dataset]:
    """Run a sweep batch by batch; one Dataset a plan. Where a batch does not fit the memory, half as many go on."""
    with lm.exclusive(), nullcontext() if sweep.source_lm is None else sweep.source_lm.exclusive():
        return _run_batches(lm, sweep, run, options)


def _run_batches(lm: LanguageModel, sweep: PatchSweep, run: Runner, options: Options) -> list[xr.Dataset]:
    parts = _by_donor(sweep)
    n, cells = len(sweep), len(sweep.cells)
    budget = memory.budget_bytes(lm, options.budget_gb)
    tick = ticker(options.progress, "run")

    def progress(done: int) -> None:
        tick(done, n * cells)

    each = memory.row_bytes(lm, sweep.plans, sweep.batch.target_ids.shape[1], sweep.width) + run.row_bytes(sweep)
    rows = memory.batch_rows(lm, each, budget, options.batch_size)
    values: list[dict[str, np.ndarray]] = [{} for _ in sweep.plans]
    baselines: list[Baselines] = []
    order: list[int] = []
    todo = list(_batches(lm, parts, rows))
    while todo:
        batch = todo.pop(0)
        try:
            with memory_errors():
                numbers, ends = _numbers(parts, batch, run, budget, after(progress, len(order) * cells))
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise SelfrepError(
                    f"A single pair of {sweep.batch.target_ids.shape[1]} tokens does not fit the memory of "
                    f"{lm.device}. Use shorter prompts, a smaller model, or float16 or bfloat16."
                ) from error
            numbers = None
        if numbers is None:  # from now on half as many at once; outside of `except`, where its memory is let go of
            release(lm.device)
            half = -(-len(batch) // 2)
            memory.remember_room(lm, half * each)
            todo = [some[at : at + half] for some in (batch, *todo) for at in range(0, len(some), half)]
            continue
        for into, of_plan in zip(values, numbers, strict=True):
            for name, part in of_plan.items():
                into.setdefault(name, np.full((n, *part.shape[1:]), np.nan))[batch] = part
        baselines.append(ends)
        order += batch
        progress(len(order) * cells)
    merged, attrs = Baselines.merged(baselines, np.argsort(order)), run.attrs()
    return [
        effects_dataset(lm, sweep, plan, of_plan, merged, attrs)
        for plan, of_plan in zip(sweep.plans, values, strict=True)
    ]


def pairs_at_once(lm: LanguageModel, sweep: PatchSweep, least: int) -> int:
    """How many pairs of a sweep to hand over at once where results are kept as they come.

    On a CPU `least`, since more are no quicker; elsewhere as many as fit the memory, in steps of `least`: each walk of
    them costs a GPU the same launches.
    """
    if lm.device.type == "cpu":
        return least
    each = memory.row_bytes(lm, sweep.plans, sweep.batch.target_ids.shape[1], sweep.width)
    rows = memory.batch_rows(lm, each, memory.budget_bytes(lm, None))
    return max(rows // least, 1) * least


def by_plan(plan: AnyPlan, datasets: list[xr.Dataset]) -> xr.Dataset | xr.DataTree:
    """The Dataset of one plan; for several a DataTree of theirs, under `PlanUnion.names`."""
    if isinstance(plan, PlanUnion):
        return xr.DataTree.from_dict(dict(zip(plan.names, datasets, strict=True)))
    return datasets[0]


def _numbers(
    parts: Mapping[tuple[int, ...], PatchSweep],
    batch: list[int],
    run: Runner,
    budget: float,
    progress: Callable[[int], None],
) -> tuple[list[dict[str, np.ndarray]], Baselines]:
    """For each plan the numbers of these pairs by name, each [pair, *the plan's shape, metric]; and baselines."""
    numbers: dict[int, dict[str, np.ndarray]] = {}
    before = 0
    for plans, sweep in parts.items():
        values, ends = run(sweep.rows(batch), budget, after(progress, before))
        before += len(batch) * len(sweep.cells)
        at = 0
        for i, plan in zip(plans, sweep.plans, strict=True):
            size = int(np.prod(plan.shape))
            numbers[i] = {
                name: array[:, at : at + size].reshape(len(batch), *plan.shape, -1) for name, array in values.items()
            }
            at += size
    return [numbers[i] for i in sorted(numbers)], ends


def _by_donor(sweep: PatchSweep) -> dict[tuple[int, ...], PatchSweep]:
    """The sweep in two: the plans that take from the source of each pair, and those that resample; by their numbers."""
    parts = {}
    for resamples in (False, True):
        plans = tuple(i for i, plan in enumerate(sweep.plans) if _resamples(plan) == resamples)
        if plans:
            part = replace(sweep, plans=tuple(sweep.plans[i] for i in plans))
            parts[plans] = _with_other_donors(part) if resamples else part
    return parts


def _resamples(plan: PatchPlan) -> bool:
    to = plan.intervention.to if isinstance(plan.intervention, Ablate) else None
    return isinstance(to, str) and to == "resample"


def _with_other_donors(sweep: PatchSweep) -> PatchSweep:
    """The sweep with the source of another pair for each: a random cycle, so that nobody gets their own."""
    n = len(sweep)
    if n < 2:
        raise SelfrepError("To resample, there must be another pair to take from; got one pair. Give at least two.")
    order = np.random.default_rng(sweep.seed).permutation(n)
    donors = np.empty(n, dtype=int)
    donors[order] = np.roll(order, 1)
    return replace(sweep, donor_ids=sweep.donor_ids[donors], reach=np.minimum(sweep.reach, sweep.reach[donors]))


def _batches(lm: LanguageModel, parts: Mapping[tuple[int, ...], PatchSweep], rows: int) -> Iterator[list[int]]:
    """Numbers of the pairs that are run together: those whose prompts have the same rotary tables, role by role; in a
    prefix patch those, too, whose prefix ends at the same token."""
    sweep = next(iter(parts.values()))
    prompts = [sweep.batch.source_ids, sweep.batch.target_ids, *(part.donor_ids for part in parts.values())]
    lengths = np.stack([(ids >= 0).sum(1) for ids in (*prompts, sweep.batch.source_ids)], axis=1)
    for i, pair in enumerate(sweep.batch.pairs):
        if pair.reference is not None:
            lengths[i, -1] = len(pair.reference.ids)
    sides = {int(n): lm.rotary_side(int(n)) for n in np.unique(lengths)}
    by_prefix = any(plan.site == PREFIX for part in parts.values() for plan in part.plans)
    groups: dict[object, list[int]] = {}
    for i, own in enumerate(lengths):
        key = tuple(sides[int(n)] for n in own), int(sweep.batch.suffix[i]) if by_prefix else None
        groups.setdefault(key, []).append(i)
    for group in groups.values():
        for at in range(0, len(group), rows):
            yield group[at : at + rows]
