"""What a sweep may hold in memory: its budget, what a pair takes, and what did not fit before."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from selfrep.engine.plan import PREFIX, STREAM, PatchPlan
from selfrep.models.language_model import LanguageModel

BUDGET = {"cpu": 1.0}
"""Gigabytes that a sweep may take beside the model, unless the caller says otherwise."""
SHARE = 0.5
"""On an accelerator: this share of what is free."""
MOST_ROWS = {"cpu": 16}
MOST_ROWS_ELSEWHERE = 512

_rooms: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()
_chunks: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_passes: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def budget_bytes(lm: LanguageModel, budget_gb: float | None) -> float:
    """Bytes that a sweep may take: what the caller says, 1 GB on a CPU, half of what is free on an accelerator."""
    if budget_gb is not None:
        return budget_gb * 1e9
    if lm.device.type == "cuda":
        return SHARE * torch.cuda.mem_get_info(lm.device)[0]
    if lm.device.type == "mps":
        return SHARE * max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return BUDGET.get(lm.device.type, 4.0) * 1e9


def row_bytes(lm: LanguageModel, plans: Sequence[PatchPlan], tokens: int, width: int) -> float:
    """What recording one pair takes: residual streams and sites of both prompts, keys and values of the target."""
    config = lm.hf.config.get_text_config()
    all_heads = int(getattr(config, "num_attention_heads", 1))
    heads = int(getattr(config, "num_key_value_heads", None) or all_heads)
    d_head = int(getattr(config, "head_dim", None) or lm.d_model // all_heads)
    sites = 0
    for site in {plan.site for plan in plans} - {*STREAM, PREFIX}:
        part = lm.layout.tap(site).part
        sites += lm.d_model if part is None else part.n * part.size
    both = any(plan.site == PREFIX for plan in plans)
    streams = 2 * width * (lm.d_model + sites) + 2 * tokens * lm.d_model / lm.n_layers
    numbers = lm.n_layers * (streams + (2 if both else 1) * 2 * tokens * heads * d_head)
    return numbers * lm.dtype.itemsize


def batch_rows(lm: LanguageModel, each: float, budget: float, batch_size: int | None = None) -> int:
    """How many pairs are run together: `batch_size`, or as many as half the budget holds and no more than pay off;
    fewer where memory ran out on this model before. `each` is what a pair takes, in bytes."""
    most = MOST_ROWS.get(lm.device.type, MOST_ROWS_ELSEWHERE)
    rows = batch_size or int(np.clip(budget / 2 // each, 1, most))
    return rows if lm.hf not in _rooms else int(np.clip(_rooms[lm.hf] / each + 1e-6, 1, rows))


def remember_room(lm: LanguageModel, size: float) -> None:
    """From now on, at most so many bytes of pairs together on this model: more did not fit the memory."""
    _rooms[lm.hf] = min(size, _rooms.get(lm.hf, size))


def chunk_tokens(lm: LanguageModel, cheapest: int) -> int:
    """How many tokens to push through a block at once: as many as are cheapest, or less if that did not fit once."""
    return min(cheapest, _chunks.get(lm.hf, cheapest))


def remember_chunk(lm: LanguageModel, tokens: int) -> None:
    """From now on, at most so many tokens a chunk for this model."""
    _chunks[lm.hf] = max(1, min(tokens, _chunks.get(lm.hf, tokens)))


def pass_tokens(lm: LanguageModel, most: int) -> int:
    """How many tokens of prompts to run at once: `most`, or less if that did not fit once."""
    return min(most, _passes.get(lm.hf, most))


def remember_pass(lm: LanguageModel, tokens: int) -> None:
    """From now on, at most so many tokens of prompts at once on this model."""
    _passes[lm.hf] = max(1, min(tokens, _passes.get(lm.hf, tokens)))
