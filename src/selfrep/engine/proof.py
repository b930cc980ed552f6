"""What a sweep must obey, tried on its own prompts before its numbers are believed.

Patching nothing leaves the target as it was, patching the whole last residual stream gives the source's answer,
patching a prompt with itself changes nothing, and a few cells are computed again by plain hooked forward passes of
the untouched model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import torch

from selfrep.engine import plain
from selfrep.engine.plan import Cell
from selfrep.engine.replay import Entry, walk
from selfrep.engine.sweep import Sweep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel


def prove(lm: LanguageModel, sweep: Sweep) -> dict[str, float]:
    """Run the laws of patching on a sweep's own prompts; see the head of this file.

    Returns:
        How far each law was missed, in nats.

    Raises:
        SelfrepError: naming the law or the cell that fails, and both numbers.
    """
    target, source, width = sweep.target, sweep.source, sweep.width
    device = target.residuals[0].device
    shared = torch.as_tensor(sweep.mask(Cell(sweep.plan.site, 0, "all")), device=device)
    middle = (sweep.plan.layers or (0,))[len(sweep.plan.layers or (0,)) // 2]
    block, own = sweep.entering(lm, middle, donor=target) if not _random(sweep) else (0, target.residuals[0])
    laws = {
        "patching nothing leaves the target": Entry(0, torch.zeros_like(shared), target.residuals[0]),
        "patching a prompt with itself leaves the target": Entry(block, shared, own),
        "patching the whole last residual stream gives the source": Entry(lm.n_layers, shared, source.residuals[-1]),
    }
    got = walk(lm, target, target.start, list(laws.values()), sweep.read).cpu().numpy()
    wanted = [sweep.baselines.target, sweep.baselines.target, sweep.baselines.source]
    tolerance = plain.TOLERANCE[lm.dtype]
    missed: dict[str, float] = {}
    for law, values, expected in zip(laws, got, wanted, strict=True):
        missed[law] = worst = float(np.abs(values - expected).max())
        if not worst <= tolerance * max(1.0, float(np.abs(expected).max())):
            raise SelfrepError(
                f"A replay must obey: {law}. On {lm.name} it is off by {worst:.3g} nats at {sweep.plan.site}."
            )
    rng = np.random.default_rng(sweep.seed)
    agreement = "a replayed cell equals the plain forward pass"
    cells = sweep.plan.cells
    for i in rng.choice(len(cells), size=min(3, len(cells)), replace=False):
        pair = int(rng.integers(len(sweep.answers)))
        positions = (np.flatnonzero(sweep.mask(cells[i])[pair]) - width).tolist()
        if not positions or (sweep.batch.pairs and sweep.batch.pairs[pair].control == "random"):
            continue
        where = cast(tuple[int, ...] | tuple[str, ...], (cells[i].where,))
        alone = replace(sweep, plan=replace(sweep.plan, layers=(cells[i].layer,), where=where))
        replayed = float(alone.run(lm, None)[pair, 0])
        slow = plain.cell(
            lm,
            sweep.batch.source_ids[pair],
            sweep.batch.target_ids[pair],
            sweep.answers[pair],
            cells[i].site,
            cells[i].layer,
            positions,
        )
        missed[agreement] = max(missed.get(agreement, 0.0), abs(replayed - slow))
        if not abs(replayed - slow) <= tolerance * max(1.0, abs(slow)):
            raise SelfrepError(
                f"The replay must agree with a plain forward pass. On {lm.name} at {cells[i].site}, layer "
                f"{cells[i].layer}, {_place(cells[i])} it gives {replayed:.6g} and the plain pass {slow:.6g}."
            )
    return missed


def _place(cell: Cell) -> str:
    return f"position {cell.where}" if isinstance(cell.where, int) else f"segment {cell.where!r}"


def _random(sweep: Sweep) -> bool:
    return any(pair.control == "random" for pair in sweep.batch.pairs)
