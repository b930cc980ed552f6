"""What a sweep will take, before it runs: seconds, memory, and the arithmetic behind them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from selfrep.engine.plan import AnyPlan, as_plan
from selfrep.engine.replay import memory, schedule
from selfrep.engine.replay.baselines import record_ids
from selfrep.engine.replay.cells import push_tokens
from selfrep.engine.sweep import PatchSweep, bind_plans
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.alignment import PromptPair, align
from selfrep.prompts.arguments import Several


@dataclass(frozen=True)
class Cost:
    """What a sweep should take.

    Attributes:
        seconds: by the cost model of this device (see `selfrep.engine.replay.schedule`); others who use it make it
            longer.
        bytes: beside the weights, at most.
        cells: patched runs, for all pairs.
        token_blocks: how many tokens are pushed through how many blocks in them.
    """

    seconds: float
    bytes: float
    cells: int
    token_blocks: int


def cost(
    lm: LanguageModel,
    plan: AnyPlan,
    pairs: Several[PromptPair],
    *,
    batch_size: int | None = None,
) -> Cost:
    """Predict what `patch` takes for these pairs, without running it.

    The cost model is measured on the first call for a model on a device; one prompt is recorded for it.

    Args:
        lm: the model; plan: from `grid` or `prefix_patch`, or several joined by `|`; pairs: from `pair`.
        batch_size: pairs replayed together, as in `patch`.

    Returns:
        `Cost`, with `seconds`, `bytes` beside the weights, `cells` (patched runs) and `token_blocks`.

    Raises:
        SelfrepError: no pairs; a layer, position or head out of range.
        CannotReplay: an architecture whose blocks cannot be replayed: each cell takes a whole forward pass.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> pairs = sr.pair(lm, people["robot"], people["nurse"], battery["who_are_you"], paraphrases=0)
        >>> sr.cost(lm, sr.grid("resid_pre", layers=[2, 3]), pairs).cells
        40
    """
    arguments.one(lm, LanguageModel, "model")
    plan, batch = as_plan(plan), align(arguments.several(pairs, PromptPair))
    sweep = PatchSweep(batch, bind_plans(lm, plan, batch), (), (), batch.source_ids, batch.suffix)
    tokens = int(batch.target_ids.shape[1])
    with lm.exclusive():
        first = record_ids(lm, batch.rows([0]).target_ids, 1, ())
        model = schedule.cost_model(lm, partial(push_tokens, lm, first))
    budget = memory.budget_bytes(lm, None)
    each = memory.row_bytes(lm, sweep.plans, tokens, sweep.width)
    rows = min(len(sweep), memory.batch_rows(lm, each, budget, batch_size))
    at_once = schedule.workers(lm)
    starts = [tokens - sweep.width + first for first in sweep.firsts]
    blocks = [cell.first_block(lm.n_layers) for cell in sweep.cells]
    walks = schedule.walks(starts, blocks, rows=rows, width=tokens, n_layers=lm.n_layers, model=model, at_once=at_once)
    batches = -(-len(sweep) // rows)
    walking = sum(walk.seconds for walk in walks) * batches / at_once
    recording = float(model.of(np.array([rows * tokens]))[0]) * lm.n_layers * 2 * batches / at_once
    run = sum((tokens - walk.start) * sum(max(0, lm.n_layers - blocks[k]) for k in walk.members) for walk in walks)
    widest = max(len(walk.members) * rows * (tokens - walk.start) for walk in walks) * lm.d_model * lm.dtype.itemsize
    room = rows * each + min(2 * at_once * widest, budget / 4)
    return Cost(walking + recording, room, len(sweep) * len(sweep.cells), len(sweep) * run)
