"""What a sweep must obey, tried on its own prompts before its numbers are believed.

Patching nothing leaves the target as it was, patching the whole last residual stream gives the source's answer,
patching a prompt with itself changes nothing, and a few cells are computed again by plain hooked forward passes of
the untouched model. A kind of sweep (site, intervention, metric, ragged or not) is proven once for each model.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from selfrep.engine import fast, plain
from selfrep.engine.interventions import InSubspace, Replace
from selfrep.engine.plan import PREFIX, Cell, PatchPlan
from selfrep.engine.replay import Entry
from selfrep.engine.unpatched import Recorded
from selfrep.errors import SelfrepError

CELLS = 3
"""How many cells of each plan are computed again."""
BUDGET = 1e9
"""Bytes for them."""
CHUNK = 768
"""Tokens pushed through a block at once, to try the laws."""

_proven: WeakKeyDictionary[nn.Module, dict[object, dict[str, float]]] = WeakKeyDictionary()


class Mismatch(SelfrepError):
    """The replay of a model does not agree with its plain forward passes."""


def prove(recorded: Recorded) -> dict[str, float]:
    """Run the laws of patching on a sweep's own prompts; see the head of this file.

    Returns:
        How far each law was missed, in the metric's unit (nats).

    Raises:
        Mismatch: naming the law or the cell that fails, and both numbers.
    """
    known = _proven.setdefault(recorded.lm.hf, {})
    kind = recorded.sweep.kind
    if kind not in known:
        missed: dict[str, float] = {}
        for plan in recorded.sweep.plans:
            for law, off in (*_laws(recorded, plan), *_cells(recorded, plan)):
                missed[law] = max(missed.get(law, 0.0), off)
        known[kind] = missed
    return known[kind]


def _laws(recorded: Recorded, plan: PatchPlan) -> Iterator[tuple[str, float]]:
    """Laws that need no oracle, each with how far it was missed."""
    lm, target, sweep = recorded.lm, recorded.target, recorded.sweep
    shared = torch.as_tensor(sweep.mask(plan, Cell("", 0, "all")), device=target.residuals[0].device)
    expected = recorded.baselines
    laws = {"patching nothing leaves the target": (Entry(0, torch.zeros_like(shared), None), expected.target)}
    stream = plan.site != PREFIX
    if stream and isinstance(plan.intervention, Replace | InSubspace) and not sweep.random:
        layer = (plan.layers or (0,))[len(plan.layers or (0,)) // 2]
        own = next(fast.joining(recorded, plan, layer, plan.components and plan.components[:1], donor=target))
        entry = Entry(own.block, shared, own.values, own.rewrite)
        laws["patching a prompt with itself leaves the target"] = (entry, expected.target)
    if sweep.longest >= recorded.reads and recorded.donor.final.shape[1] >= recorded.reads and _own_source(recorded):
        whole = Entry(lm.n_layers, shared, recorded.donor.residuals[-1])
        laws["patching the whole last residual stream gives the source"] = (whole, expected.source)
    got = fast.walked(recorded, target.start, [entry for entry, _ in laws.values()], CHUNK)
    for (law, (_, wanted)), values in zip(laws.items(), got, strict=True):
        off = np.abs(values - wanted)
        if not bool((off <= plain.TOLERANCE[lm.dtype] * np.maximum(1.0, np.abs(wanted))).all()):
            pair, metric = np.unravel_index(int(np.where(np.isnan(off), np.inf, off).argmax()), off.shape)
            raise Mismatch(
                f"A replay must obey: {law}. On {lm.name} at {plan.site}, pair {pair}, it gives "
                f"{values[pair, metric]:.6g} where the unpatched run gives {wanted[pair, metric]:.6g}."
            )
        yield law, float(off.max())


def _own_source(recorded: Recorded) -> bool:
    """Whether the last residual stream of the donor, at all tokens that are read, is the source's."""
    sweep = recorded.sweep
    same = sweep.donor_ids is sweep.batch.source_ids
    return same and bool((sweep.reach >= recorded.reads).all()) and sweep.width >= recorded.reads


def _cells(recorded: Recorded, plan: PatchPlan) -> Iterator[tuple[str, float]]:
    """A few cells by plain hooked passes, each with how far the replay is from it."""
    lm, sweep = recorded.lm, recorded.sweep
    rng = np.random.default_rng(sweep.seed)
    candidates = [
        (i, int(row))
        for i, (owner, cell) in enumerate(sweep.cells)
        for row in np.flatnonzero(sweep.mask(plan, cell).any(1))
        if owner is plan and not (sweep.batch.pairs and sweep.batch.pairs[row].control == "random")
    ]
    chosen = [candidates[k] for k in rng.choice(len(candidates), size=min(CELLS, len(candidates)), replace=False)]
    values = fast.run(recorded, budget=BUDGET, only=sorted({i for i, _ in chosen})) if chosen else np.empty(0)
    for i, row in chosen:
        cell, replayed = sweep.cells[i][1], values[row, i]
        slow = plain.cell(lm, sweep, plan, cell, row)
        off = np.abs(replayed - slow)
        if not bool((off <= plain.TOLERANCE[lm.dtype] * np.maximum(1.0, np.abs(slow))).all()):
            worst = int(np.nanargmax(off)) if not np.isnan(off).all() else 0
            place = f"position {cell.where}" if isinstance(cell.where, int) else f"segment {cell.where!r}"
            part = "" if cell.component is None else f", component {cell.component}"
            raise Mismatch(
                f"The replay must agree with a plain forward pass. On {lm.name} at {cell.site}, layer {cell.layer}, "
                f"{place}{part}, it gives {replayed[worst]:.6g} and the plain pass {slow[worst]:.6g}."
            )
        yield "a replayed cell equals the plain forward pass", float(off.max())
