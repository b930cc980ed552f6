"""Pairs in batches: what every way of running a sweep, exact or approximate, has in common.

A plan is settled for the model and the pairs, the pairs are cut into batches, each batch is handed to a `Runner` as a
`Sweep`, and what comes back is labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import xarray as xr

from selfrep.engine import cost
from selfrep.engine.effects import Baselines, effects_dataset, provenance
from selfrep.engine.interventions import Ablate
from selfrep.engine.metrics import Metric
from selfrep.engine.plan import PREFIX, PatchPlan, Plan, PlanUnion, n_cells
from selfrep.engine.schedule import release
from selfrep.engine.sweep import Sweep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import AlignedBatch

Progress = Callable[[int, int], None]
"""Called with (done, total) patched runs as work goes on."""


@dataclass(frozen=True)
class Options:
    """What every way of running a sweep shares: pairs at once, what memory it may take, seed, who hears of progress.

    `row_bytes` is what a pair takes beside its recordings.
    """

    batch_size: int | None = None
    budget_gb: float | None = None
    seed: int = 0
    progress: Progress | None = None
    row_bytes: float = 0.0

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise SelfrepError(f"A batch holds at least one pair; got batch_size={self.batch_size}.")


@runtime_checkable
class Runner(Protocol):
    """A way to run sweeps: exact or approximate."""

    def __call__(
        self, sweep: Sweep, budget: float, progress: Callable[[int], None] | None
    ) -> tuple[Mapping[str, np.ndarray], Baselines]:
        """The numbers of one batch, "patched" and whatever else there is, each [pair, cell, metric]; and baselines."""

    def attrs(self) -> dict[str, object]:
        """What to say of the numbers, after all batches."""


def sweep_pairs(
    lm: LanguageModel,
    whole: AlignedBatch,
    plan: Plan,
    metric: Metric | Sequence[Metric],
    run: Runner,
    options: Options,
) -> xr.Dataset | xr.DataTree:
    """Settle what a plan leaves open, run it batch by batch, and label what comes out."""
    union = cost.bound(lm, plan if isinstance(plan, PlanUnion) else PlanUnion((plan,)), whole)
    metrics = (metric,) if isinstance(metric, Metric) else tuple(metric)
    if not metrics or len({m.name for m in metrics}) < len(metrics):
        raise SelfrepError(f"Metrics have names of their own; got {[m.name for m in metrics]}.")
    answers = tuple(None if m.answers is None else m.answers(whole) for m in metrics)
    kept = next((a for a in answers if a is not None), None)
    if not whole.items and kept is not None:  # token ids: what is read is kept as items, so that any cell can be redone
        kinds, index = np.unique(kept, axis=0, return_inverse=True)
        names = tuple(f"answers{i}" for i in range(len(kinds)))
        whole = replace(whole, answer_ids=kinds, items=names, item_index=index.reshape(-1))
    swapping = any(p.site == PREFIX for p in union.plans)
    if swapping:
        _require_equal_lengths(whole)
    asked = Sweep(whole, union.plans, metrics, answers, whole.source_ids, whole.suffix, options.seed)
    parts = _by_donor(asked)
    n, cells = len(whole.suffix), n_cells(union)
    budget = cost.budget_bytes(lm, options.budget_gb)
    each = cost.row_bytes(lm, union, whole.target_ids.shape[1], asked.width) + options.row_bytes
    rows = cost.batch_rows(lm, each, budget, options.batch_size)
    values: list[dict[str, np.ndarray]] = [{} for _ in union.plans]
    baselines: list[Baselines] = []
    order: list[int] = []
    todo = list(_batches(whole, rows, swapping))
    while todo:
        batch = todo.pop(0)
        told = options.progress and _counted(options.progress, len(order) * cells, n * cells)
        try:
            found, ends = _numbers(parts, batch, run, budget, told)
        except torch.OutOfMemoryError as error:
            if len(batch) == 1:
                raise SelfrepError(
                    f"A single pair of {whole.target_ids.shape[1]} tokens does not fit the memory of {lm.device}. Use "
                    "shorter prompts, a smaller model, or float16 or bfloat16."
                ) from error
            found = None
        if found is None:  # from now on half as many at once; outside of `except`, where its memory is let go of
            release(lm.device)
            half = -(-len(batch) // 2)
            cost.remember_room(lm, half * each)
            todo = [some[at : at + half] for some in (batch, *todo) for at in range(0, len(some), half)]
            continue
        for into, numbers in zip(values, found, strict=True):
            for name, part in numbers.items():
                into.setdefault(name, np.full((n, *part.shape[1:]), np.nan))[batch] = part
        baselines.append(ends)
        order += batch
        if options.progress is not None:
            options.progress(len(order) * cells, n * cells)
    merged = Baselines.merged(baselines).rows(np.argsort(order))
    axis = None if isinstance(metric, Metric) else [m.name for m in metrics]
    made = {}
    for name, one, named in zip(union.names, union.plans, values, strict=True):
        attrs = provenance(lm, one, [m.name for m in metrics], options.seed) | run.attrs()
        made[name] = effects_dataset(whole, one, named.pop("patched"), merged, attrs, axis, named)
    return xr.DataTree.from_dict(made) if isinstance(plan, PlanUnion) else next(iter(made.values()))


def _numbers(
    parts: Mapping[tuple[int, ...], Sweep],
    batch: list[int],
    run: Runner,
    budget: float,
    told: Callable[[int], None] | None,
) -> tuple[list[dict[str, np.ndarray]], Baselines]:
    """For each plan the numbers of these pairs by name, each [pair, *the plan's shape, metric]; and baselines."""
    numbers: dict[int, dict[str, np.ndarray]] = {}
    for chosen, sweep in parts.items():
        out, ends = run(sweep.rows(batch), budget, told)
        at = 0
        for i, plan in zip(chosen, sweep.plans, strict=True):
            size = int(np.prod(plan.shape))
            numbers[i] = {
                name: found[:, at : at + size].reshape(len(batch), *plan.shape, -1) for name, found in out.items()
            }
            at += size
    return [numbers[i] for i in sorted(numbers)], ends


def _by_donor(asked: Sweep) -> dict[tuple[int, ...], Sweep]:
    """The sweep in two: the plans that take from the source of each pair, and those that resample; by their numbers."""
    parts = {}
    for resampled in (False, True):
        chosen = tuple(i for i, plan in enumerate(asked.plans) if _resamples(plan) == resampled)
        if chosen:
            part = replace(asked, plans=tuple(asked.plans[i] for i in chosen))
            parts[chosen] = _resampled(part) if resampled else part
    return parts


def _resampled(sweep: Sweep) -> Sweep:
    """The sweep with the source of another pair for each: a random cycle, so that nobody gets their own."""
    n = len(sweep.reach)
    if n < 2:
        raise SelfrepError("To resample, there must be another pair to take from; got one pair. Give at least two.")
    order = np.random.default_rng(sweep.seed).permutation(n)
    donors = np.empty(n, dtype=int)
    donors[order] = np.roll(order, 1)
    return replace(sweep, donor_ids=sweep.donor_ids[donors], reach=np.minimum(sweep.reach, sweep.reach[donors]))


def token_batch(
    lm: LanguageModel, source: Any, target: Any, most: int | None = None, plan: Plan | None = None
) -> AlignedBatch:
    """A batch without texts or answers, in which positions that both prompts have are shared, `most` of them.

    Raises:
        SelfrepError: ids that are not [pair, token], right-aligned, and in the vocabulary; a plan with segments.
    """
    plans = plan.plans if isinstance(plan, PlanUnion) else () if plan is None else (plan,)
    if any(p.by == "segment" and not p.sets and (p.where is None or set(p.where) - {"all", "last", "prefix"})
           for p in plans):  # fmt: skip
        raise SelfrepError("Token ids have no segments but 'all' and 'last': give grid(...) positions.")
    rows = [np.asarray(torch.as_tensor(ids).cpu(), dtype=np.int64) for ids in (source, target)]
    if any(ids.ndim != 2 or ids.size == 0 for ids in rows) or len(rows[0]) != len(rows[1]):
        raise SelfrepError(
            f"Source and target are [pair, token], one pair a row; got shapes {[ids.shape for ids in rows]}."
        )
    vocabulary = lm.d_vocab
    ragged = any((ids[:, -1] < 0).any() or ((ids[:, :-1] >= 0) & (ids[:, 1:] < 0)).any() for ids in rows)
    if ragged or any(ids.max() >= vocabulary for ids in rows):
        raise SelfrepError(f"Token ids are 0 … {vocabulary - 1}, right-aligned with −1 on the left; got others.")
    own_source, own_target = rows
    suffix = np.minimum((own_source >= 0).sum(1), (own_target >= 0).sum(1))
    if most is not None:
        if not 1 <= most <= suffix.max():
            raise SelfrepError(f"A suffix has 1 … {suffix.max()} tokens here, all that both prompts have; got {most}.")
        suffix = np.minimum(suffix, most)
    width = int(suffix.max())
    there = np.arange(-width, 0) >= -suffix[:, None]
    return AlignedBatch(
        source_ids=own_source,
        target_ids=own_target,
        suffix=suffix,
        tokens=np.where(there, own_target[:, -width:].astype(str), ""),
        segments=np.where(there, "prompt", ""),
        answer_ids=np.empty((0, 2, 0), dtype=np.int64),
        items=(),
        item_index=np.zeros(len(own_target), dtype=np.int64),
        pairs=(),
    )


def _counted(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + done, total)


def _batches(whole: AlignedBatch, rows: int, equal_suffixes: bool) -> Iterator[list[int]]:
    """Numbers of the pairs that are run together; in a prefix swap those whose prefix ends at the same token."""
    groups = [list(range(len(whole.suffix)))]
    if equal_suffixes:
        groups = [np.flatnonzero(whole.suffix == n).tolist() for n in np.unique(whole.suffix)]
    for group in groups:
        for at in range(0, len(group), rows):
            yield group[at : at + rows]


def _resamples(plan: PatchPlan) -> bool:
    return (
        isinstance(plan.intervention, Ablate)
        and isinstance(plan.intervention.to, str)
        and (plan.intervention.to == "resample")
    )


def _require_equal_lengths(whole: AlignedBatch) -> None:
    lengths = [(ids >= 0).sum(1) for ids in (whole.source_ids, whole.target_ids)]
    unequal = np.flatnonzero(lengths[0] != lengths[1])
    if len(unequal):
        i = int(unequal[0])
        raise SelfrepError(
            f"A prefix swap needs prompts of the same length; pair {i} has a source of {lengths[0][i]} tokens and a "
            f"target of {lengths[1][i]} ({len(unequal)} of {len(lengths[0])} pairs differ). Choose paraphrases of "
            "equal length: equal_lengths(pairs) keeps those that are."
        )
    if (bare := np.flatnonzero(lengths[1] <= whole.suffix)).size:
        raise SelfrepError(
            f"A prefix swap needs a prefix; all {lengths[1][bare[0]]} tokens of pair {bare[0]} are its suffix. For "
            "token ids say how many tokens at the end are the suffix: patch_tokens(..., suffix=n)."
        )
