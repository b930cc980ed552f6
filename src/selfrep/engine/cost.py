"""What a sweep will take, before it runs: seconds, memory, and the arithmetic behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np
from torch import nn

from selfrep.engine import fast, schedule, unpatched
from selfrep.engine.metrics import logit_difference
from selfrep.engine.plan import PREFIX, PlanUnion
from selfrep.engine.recording import STREAM
from selfrep.engine.sweep import Sweep
from selfrep.models.language_model import LanguageModel
from selfrep.models.sites import component
from selfrep.prompts.alignment import AlignedBatch

BUDGET = {"cpu": 1.0}
"""Gigabytes that a sweep may take beside the model, unless the caller says otherwise."""
SHARE = 0.5
"""On an accelerator: this share of what is free."""
MOST_ROWS = {"cpu": 16}
MOST_ROWS_ELSEWHERE = 64


@dataclass(frozen=True)
class Cost:
    """What a sweep should take.

    Attributes:
        seconds: by the cost model of this device (see `selfrep.engine.schedule`); others who use it make it longer.
        bytes: beside the weights, at most.
        cells: patched runs, for all pairs.
        token_blocks: how many tokens are pushed through how many blocks in them.
    """

    seconds: float
    bytes: float
    cells: int
    token_blocks: int


def budget_bytes(lm: LanguageModel, budget_gb: float | None) -> float:
    """Bytes that a sweep may take: what the caller says, 1 GB on a CPU, half of what is free on an accelerator."""
    if budget_gb is not None:
        return budget_gb * 1e9
    if lm.device.type == "cuda":
        import torch

        return SHARE * torch.cuda.mem_get_info(lm.device)[0]
    return BUDGET.get(lm.device.type, 4.0) * 1e9


def row_bytes(lm: LanguageModel, plans: PlanUnion, tokens: int, width: int) -> float:
    """What recording one pair takes: residual streams and sites of both prompts, keys and values of the target."""
    config = lm.hf.config.get_text_config()
    all_heads = int(getattr(config, "num_attention_heads", 1))
    heads = int(getattr(config, "num_key_value_heads", None) or all_heads)
    d_head = int(getattr(config, "head_dim", None) or lm.d_model // all_heads)
    sites = 0
    for site in {plan.site for plan in plans.plans} - {*STREAM, PREFIX}:
        part = lm.layout.tap(site).part if component(site) else None
        sites += lm.d_model if part is None else part.n * part.size
    swaps = any(plan.site == PREFIX for plan in plans.plans)
    streams = 2 * width * (lm.d_model + sites) + 2 * tokens * lm.d_model / lm.n_layers
    numbers = lm.n_layers * (streams + (2 if swaps else 1) * 2 * tokens * heads * d_head)
    return numbers * lm.dtype.itemsize


_rooms: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()


def batch_rows(lm: LanguageModel, each: float, budget: float, asked: int | None = None) -> int:
    """How many pairs are run together: as many as are asked for, or as half the budget holds and no more than pay off;
    fewer where memory ran out on this model before. `each` is what a pair takes, in bytes."""
    most = MOST_ROWS.get(lm.device.type, MOST_ROWS_ELSEWHERE)
    rows = asked or int(np.clip(budget / 2 // each, 1, most))
    return rows if lm.hf not in _rooms else int(np.clip(_rooms[lm.hf] / each + 1e-6, 1, rows))


def remember_room(lm: LanguageModel, size: float) -> None:
    """From now on, at most so many bytes of pairs together on this model: more did not fit the memory."""
    _rooms[lm.hf] = min(size, _rooms.get(lm.hf, size))


def cost(lm: LanguageModel, plan: PlanUnion, batch: AlignedBatch, *, batch_size: int | None = None) -> Cost:
    """Predict what `patch` takes for these pairs.

    The cost model is measured on the first call for a model on a device; a pair is recorded for it.

    Raises:
        CannotReplay: an architecture whose blocks cannot be replayed: each cell takes a whole forward pass.
    """
    plans = bound(lm, plan, batch)
    tokens, pairs = int(batch.target_ids.shape[1]), len(batch.suffix)
    first = batch.rows([0])
    probe = Sweep(first, (replace(plans.plans[0], site="resid_pre", components=None),), (logit_difference(0, 1),),
                  (np.array([[[0], [1]]]),), first.source_ids, first.suffix)  # fmt: skip
    recorded = unpatched.record_sweep(lm, probe)
    model = schedule.cost_model(lm, lambda n: fast.push_tokens(recorded, n))
    sweep = Sweep(batch, plans.plans, (), (), batch.source_ids, batch.suffix)
    budget = budget_bytes(lm, None)
    each = row_bytes(lm, plans, tokens, sweep.width)
    rows = min(pairs, batch_rows(lm, each, budget, batch_size))
    at_once = schedule.workers(lm)
    starts = [_start(sweep, p, cell) + tokens for p, cell in sweep.cells]
    blocks = [p.joins(cell.layer, lm.n_layers) for p, cell in sweep.cells]
    jobs = schedule.jobs(starts, blocks, rows=rows, width=tokens, n_layers=lm.n_layers, model=model, at_once=at_once)
    batches = -(-pairs // rows)
    walking = sum(job.seconds for job in jobs) * batches / at_once
    recording = float(model.of(np.array([rows * tokens]))[0]) * lm.n_layers * 2 * batches / at_once
    run = sum((tokens - job.start) * sum(max(0, lm.n_layers - blocks[k]) for k in job.members) for job in jobs)
    widest = max(len(job.members) * rows * (tokens - job.start) for job in jobs) * lm.d_model * lm.dtype.itemsize
    held = rows * each + min(2 * at_once * widest, budget / 4)
    return Cost(walking + recording, held, pairs * len(sweep.cells), pairs * run)


def bound(lm: LanguageModel, plan: PlanUnion, batch: AlignedBatch) -> PlanUnion:
    """The plans with every layer, position and head spelled out for this model and these pairs."""

    def n_components(site: str) -> int:
        part = lm.layout.tap(site).part if component(site) else None
        return 0 if part is None else part.n

    for one in plan.plans:
        for site in ("k", "v") if one.site == PREFIX else (one.site,):
            lm.layout.tap(site)
    return PlanUnion(
        tuple(one.bound(lm.n_layers, int(batch.suffix.max()), n_components(one.site)) for one in plan.plans)
    )


def _start(sweep: Sweep, plan: object, cell: object) -> int:
    mask = sweep.mask(plan, cell)  # type: ignore[arg-type]
    return int(mask.any(0).argmax()) - sweep.width
