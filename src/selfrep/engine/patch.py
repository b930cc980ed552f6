"""Exact activation patching: pairs × plan × metric → the effects Dataset.

Every call proves itself on its first batch before it sweeps (see `selfrep.engine.proof`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from selfrep.engine.effects import Baselines, effects_dataset, provenance
from selfrep.engine.metrics import Metric, answer_log_odds
from selfrep.engine.plan import PatchPlan
from selfrep.engine.proof import prove
from selfrep.engine.sweep import Sweep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import AlignedBatch, PromptPair, align

Progress = Callable[[int, int], None]
"""Called with (done, total) patched runs as work goes on."""


def patch(
    lm: LanguageModel,
    pairs: Sequence[PromptPair],
    plan: PatchPlan,
    metric: Metric = answer_log_odds,
    *,
    batch_size: int = 8,
    seed: int = 0,
    check: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Patch each source into its target, cell by cell of the plan.

    Args:
        pairs: from `pair`; prompts may differ in length.
        plan: from `grid`.
        metric: what each run is asked for.
        batch_size: pairs replayed together.
        seed: of the random directions of "random" control pairs.
        check: prove the replay on the first batch (see above) before the sweep.

    Returns:
        The effects Dataset (see `effects_dataset`), dims pair, layer, position | segment.

    Raises:
        SelfrepError: a layer or position out of range, a replay that does not agree with the plain model.
    """
    whole = align(pairs)
    plan = plan.bound(lm.n_layers, int(whole.suffix.max()))
    return _patch(lm, whole, lambda part: align(pairs[part]), plan, metric, batch_size, seed, check, progress)


def template(
    lm: LanguageModel, pairs: Sequence[PromptPair], plan: PatchPlan, metric: Metric = answer_log_odds, *, seed: int = 0
) -> xr.Dataset:
    """The Dataset that `patch` will return, its numbers still NaN: to make room for results before they are there."""
    whole = align(pairs)
    plan = plan.bound(lm.n_layers, int(whole.suffix.max()))
    blank = np.full((len(pairs), len(plan.layers or ()), len(plan.where or ())), np.nan)
    return effects_dataset(
        whole, plan, blank, Baselines(*[blank[:, 0, 0]] * 5), provenance(lm, plan, metric.name, seed)
    )


def patch_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: PatchPlan,
    metric: Metric,
    *,
    batch_size: int = 8,
    seed: int = 0,
    check: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """The same engine for those who bring token ids; needs no tokenizer.

    Args:
        source, target: [pair, token] ids, right-aligned, −1 on the left of shorter prompts; one pair a row.

    Returns, raises: as `patch`. Positions may be any that both prompts of some pair have.
    """
    rows = [np.asarray(torch.as_tensor(ids).cpu(), dtype=np.int64) for ids in (source, target)]
    if any(ids.ndim != 2 or ids.size == 0 for ids in rows) or len(rows[0]) != len(rows[1]):
        raise SelfrepError(
            f"Source and target are [pair, token], one pair a row; got shapes {[ids.shape for ids in rows]}."
        )
    vocabulary = lm.d_vocab
    ragged = any((ids[:, -1] < 0).any() or ((ids[:, :-1] >= 0) & (ids[:, 1:] < 0)).any() for ids in rows)
    if ragged or any(ids.max() >= vocabulary for ids in rows):
        raise SelfrepError(f"Token ids are 0 … {vocabulary - 1}, right-aligned with −1 on the left; got others.")
    whole = _bare(*rows)
    plan = plan.bound(lm.n_layers, int(whole.suffix.max()))
    if plan.by == "segment":
        raise SelfrepError("Token ids have no segments: give grid(...) positions.")

    def part(rows_of: slice) -> AlignedBatch:
        return _bare(rows[0][rows_of], rows[1][rows_of])

    return _patch(lm, whole, part, plan, metric, batch_size, seed, check, progress)


def _bare(source: np.ndarray, target: np.ndarray) -> AlignedBatch:
    """A batch without texts or answers, in which every position that both prompts have is shared."""
    suffix = np.minimum((source >= 0).sum(1), (target >= 0).sum(1))
    width = int(suffix.max())
    own = target[:, -width:]
    there = np.arange(-width, 0) >= -suffix[:, None]
    return AlignedBatch(
        source_ids=source,
        target_ids=target,
        suffix=suffix,
        tokens=np.where(there, own.astype(str), ""),
        segments=np.where(there, "prompt", ""),
        answer_ids=np.empty((0, 2, 0), dtype=np.int64),
        items=(),
        item_index=np.zeros(len(target), dtype=np.int64),
        pairs=(),
    )


def _patch(
    lm: LanguageModel,
    whole: AlignedBatch,
    part: Callable[[slice], AlignedBatch],
    plan: PatchPlan,
    metric: Metric,
    batch_size: int,
    seed: int,
    check: bool,
    progress: Progress | None,
) -> xr.Dataset:
    n = len(whole.target_ids)
    answers = metric.answers(whole)
    if not whole.items:  # token ids: what the metric reads is kept as items, so that any cell can be computed again
        kinds, index = np.unique(answers, axis=0, return_inverse=True)
        names = tuple(f"answers{i}" for i in range(len(kinds)))
        whole = replace(whole, answer_ids=kinds, items=names, item_index=index.reshape(-1))
    parts: list[tuple[np.ndarray, Baselines]] = []
    proof: dict[str, float] = {}
    for at in range(0, n, batch_size):
        rows = slice(at, at + batch_size)
        sweep = Sweep.of(lm, part(rows), plan, answers[rows], seed)
        if check and at == 0:
            proof = prove(lm, sweep)
        report = None if progress is None else lambda k, a=at: progress(a * len(plan.cells) + k, n * len(plan.cells))
        parts.append((sweep.run(lm, report), sweep.baselines))
    shape = (n, len(plan.layers or ()), len(plan.where or ()))
    patched = np.concatenate([values for values, _ in parts]).reshape(shape)
    merged = Baselines(*(np.concatenate([getattr(b, f) for _, b in parts]) for f in Baselines.__dataclass_fields__))
    attrs = provenance(lm, plan, metric.name, seed) | {"proof": json.dumps(proof)}
    return effects_dataset(whole, plan, patched, merged, attrs)
