"""What a sweep must obey, tried on its own prompts before its numbers are believed.

Patching nothing leaves the target as it was, patching the whole last residual stream gives the source's answer,
patching a prompt with itself changes nothing, and a few cells are computed again by the reference: plain hooked
forward passes of the untouched model. Sweeps of one signature (sites, interventions, metrics, ragged or not) are
checked once for each state of a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from selfrep.engine import reference
from selfrep.engine.interventions import InSubspace, Replace
from selfrep.engine.misses import Misses, worst
from selfrep.engine.plan import PREFIX, PatchCell, PatchPlan
from selfrep.engine.replay.baselines import SweepRecording
from selfrep.engine.replay.cells import run_cells, runs_at, walk_metrics
from selfrep.engine.replay.walk import PatchedRun

CELLS = 3
"""How many cells of each plan are computed again."""
BUDGET = 1e9
"""Bytes for them."""
CHUNK = 768
"""Tokens pushed through a block at once, to try the laws."""

_results: WeakKeyDictionary[nn.Module, dict[object, Misses]] = WeakKeyDictionary()


def selfcheck(recording: SweepRecording) -> Misses:
    """Run the laws of patching on a sweep's own prompts; see the head of this file.

    Raises:
        Mismatch: naming the law or the cell that fails, and both numbers.
    """
    results = _results.setdefault(recording.lm.hf, {})
    signature = recording.lm.state.model, recording.sweep.signature
    if signature not in results:
        misses = [{law: miss} for plan in recording.sweep.plans for law, miss in _misses(recording, plan)]
        results[signature] = worst(*misses)
    return results[signature]


def _misses(recording: SweepRecording, plan: PatchPlan) -> Iterator[tuple[str, float]]:
    yield from _laws(recording, plan)
    yield from _cells(recording, plan)


def _laws(recording: SweepRecording, plan: PatchPlan) -> Iterator[tuple[str, float]]:
    """Laws that need no oracle, each with how far it was missed."""
    lm, target, sweep = recording.lm, recording.target, recording.sweep
    suffix = torch.as_tensor(sweep.mask(PatchCell(plan, 0, "all")), device=target.residuals[0].device)
    unpatched = recording.baselines
    laws = {"patching nothing leaves the target": (PatchedRun(0, torch.zeros_like(suffix)), unpatched.target)}
    linear = isinstance(plan.intervention, Replace | InSubspace)
    if plan.site != PREFIX and linear and not sweep.random:
        layer = (plan.layers or (0,))[len(plan.layers or (0,)) // 2]
        own = next(runs_at(recording, plan, layer, plan.components and plan.components[:1], donor=target))
        laws["patching a prompt with itself leaves the target"] = (own.over(suffix), unpatched.target)
    own_source = sweep.donor_ids is sweep.batch.source_ids
    if own_source and min(sweep.width, *sweep.reach) >= recording.reads:  # all that is read is the source's
        run = PatchedRun(lm.n_layers, suffix, recording.donor.residuals[-1])
        laws["patching the whole last residual stream gives the source"] = (run, unpatched.source)
    replayed = walk_metrics(recording, target.start, [run for run, _ in laws.values()], CHUNK)
    for (law, (_, wanted)), values in zip(laws.items(), replayed, strict=True):
        off = np.abs(values - wanted)
        if not reference.agrees(lm, values, wanted):
            pair, metric = np.unravel_index(int(np.where(np.isnan(off), np.inf, off).argmax()), off.shape)
            raise reference.Mismatch(
                f"A replay must obey: {law}. On {lm.name} at {plan.site}, pair {pair}, it gives "
                f"{values[pair, metric]:.6g} where the unpatched run gives {wanted[pair, metric]:.6g}."
            )
        yield law, float(off.max())


def _cells(recording: SweepRecording, plan: PatchPlan) -> Iterator[tuple[str, float]]:
    """A few cells by the reference, each with how far the replay is from it."""
    lm, sweep = recording.lm, recording.sweep
    rng = np.random.default_rng(sweep.seed)
    candidates = [
        (i, int(row))
        for i, cell in enumerate(sweep.cells)
        for row in np.flatnonzero(sweep.masks[i].any(1))
        if cell.plan is plan and not (sweep.batch.pairs and sweep.batch.pairs[row].control == "random")
    ]
    sample = [candidates[k] for k in rng.choice(len(candidates), size=min(CELLS, len(candidates)), replace=False)]
    values = run_cells(recording, budget=BUDGET, only=sorted({i for i, _ in sample})) if sample else np.empty(0)
    for i, row in sample:
        cell, replayed = sweep.cells[i], values[row, i]
        slow = reference.run_cell(lm, sweep.rows([row]), cell)
        off = np.abs(replayed - slow)
        if not reference.agrees(lm, replayed, slow):
            m = int(np.nanargmax(off)) if not np.isnan(off).all() else 0
            place = f"position {cell.where}" if isinstance(cell.where, int) else f"segment {cell.where!r}"
            part = "" if cell.component is None else f", component {cell.component}"
            raise reference.Mismatch(
                f"The replay must agree with a plain forward pass. On {lm.name} at {cell.site}, layer {cell.layer}, "
                f"{place}{part}, it gives {replayed[m]:.6g} and the plain pass {slow[m]:.6g}."
            )
        yield "a replayed cell equals the plain forward pass", float(off.max())
