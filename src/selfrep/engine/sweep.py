"""A sweep, as data: some pairs, the cells to patch in them, and what to read.

Pairs are aligned, plans spelled out and answers looked up once, by `bind` or `bind_tokens`. What follows (replay,
reference, gradients) takes the sweep, or some of its rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.door import require_answers, require_logits, require_prompts
from selfrep.engine.metrics import Metric, Metrics, as_metrics
from selfrep.engine.plan import PREFIX, AnyPlan, PatchCell, PatchPlan, PlanUnion, as_plan, plans_of
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.alignment import AlignedBatch, PromptPair, align, trimmed
from selfrep.prompts.arguments import Several

Pairs: TypeAlias = Several[PromptPair]


@dataclass(frozen=True, eq=False)
class PatchSweep:
    """What is run on some pairs.

    Attributes:
        plans: bound.
        metrics, answers: what is read; for a metric on answer sets these, [pair, side, k], else None.
        donor_ids: [pair, token] the prompts whose activations are written, right-aligned, −1 padded: the sources, or
            others' for resampling.
        reach: [pair] how many tokens at the end donor and target share.
        seed: of the random directions of "random" control pairs, and of resampling.
        metric_axis: whether results have a dimension `metric`.
        source_lm: the model in which the sources run, where it is another (see `selfrep.engine.across`).
    """

    batch: AlignedBatch
    plans: tuple[PatchPlan, ...]
    metrics: tuple[Metric, ...]
    answers: tuple[np.ndarray | None, ...]
    donor_ids: np.ndarray
    reach: np.ndarray
    seed: int = 0
    metric_axis: bool = False
    source_lm: LanguageModel | None = None

    def __len__(self) -> int:
        return len(self.reach)

    def rows(self, which: Sequence[int] | np.ndarray) -> PatchSweep:
        """The same for some of the pairs, in that order."""
        index = [int(i) for i in which]
        batch = self.batch.rows(index)
        own = self.donor_ids is self.batch.source_ids  # then it stays so, and the source is recorded once
        return replace(
            self,
            batch=batch,
            answers=tuple(None if answers is None else answers[index] for answers in self.answers),
            donor_ids=batch.source_ids if own else trimmed(self.donor_ids[index]),
            reach=self.reach[index],
        )

    @cached_property
    def cells(self) -> list[PatchCell]:
        """Every cell, plan by plan."""
        return [cell for plan in self.plans for cell in plan.cells]

    @cached_property
    def masks(self) -> list[np.ndarray]:
        """The mask of every cell, each [pair, token]."""
        return [self.mask(cell) for cell in self.cells]

    @cached_property
    def firsts(self) -> list[int]:
        """The first token of every cell in any pair, among the last `width`; 0 for a cell that no pair has."""
        return [int(mask.any(0).argmax()) for mask in self.masks]

    @cached_property
    def width(self) -> int:
        """How many tokens at the end a cell may cover."""
        first = [w if isinstance(w, int) else -self.longest for plan in self.plans for w in plan.where or ()]
        return min(-min(first, default=-self.longest), self.longest)

    @property
    def longest(self) -> int:
        """The most tokens that any pair shares."""
        return int(self.batch.suffix.max())

    @property
    def answer_sets(self) -> np.ndarray | None:
        """The answer sets of the first metric that has any, [pair, side, k]."""
        return next((answers for answers in self.answers if answers is not None), None)

    @property
    def random(self) -> bool:
        """Whether any pair is a "random" control, whose source is made up."""
        return any(pair.control == "random" for pair in self.batch.pairs)

    def mask(self, cell: PatchCell) -> np.ndarray:
        """[pair, token] which of the last `width` tokens a cell covers."""
        position = np.arange(-self.width, 0)
        in_suffix = position >= -self.reach[:, None]
        if isinstance(cell.where, int):
            return in_suffix & (position == cell.where)
        if cell.where == "last":
            return in_suffix & (position == -1)
        if cell.where == "all" or cell.is_prefix:
            return in_suffix
        if (own := dict(cell.plan.sets).get(cell.where)) is not None:
            return in_suffix & np.isin(position, own)
        return in_suffix & (self.batch.segments[:, -self.width :] == cell.where)

    def source_values(self, site: str, layer: int, source: Tensor, target: Tensor) -> Tensor:
        """The donors' activations at a place, or for "random" controls what stands for them.

        A random control is the target, moved as far as the source would move it, in a random direction.

        Args:
            source, target: [row, token, (component,) feature], right-aligned.
        """
        source = source.to(target)
        rows, noise = [], []
        for i, pair in enumerate(self.batch.pairs):
            if pair.control != "random":
                continue
            place = (self.seed, site, layer, pair.item, pair.source_name, pair.source_paraphrase, pair.target_name)
            draw = np.random.default_rng(zlib.crc32("/".join(map(str, place)).encode()))
            rows.append(i)
            noise.append(draw.standard_normal(source.shape[1:])[::-1])  # from the last token back: alike in any batch
        if not rows:
            return source
        # Drawn on the host, to be the same numbers on any device; copied there at once.
        direction = torch.from_numpy(np.stack(noise)).float().to(source)
        index = torch.tensor(rows, device=source.device)
        distance = (source[index] - target[index]).norm(dim=-1, keepdim=True)
        made = target[index] + direction / direction.norm(dim=-1, keepdim=True) * distance
        return source.index_copy(0, index, made)

    @property
    def signature(self) -> tuple[object, ...]:
        """What sets one sweep's replay apart from another's; sweeps of the same signature are checked once."""
        ragged = bool((self.batch.target_ids < 0).any())
        plans = tuple((plan.site, plan.by, plan.window, plan.intervention.name) for plan in self.plans)
        source = None if self.source_lm is None else id(self.source_lm.hf)
        return plans, tuple(metric.name for metric in self.metrics), ragged, self.random, source


def bind(lm: LanguageModel, pairs: Pairs, plan: AnyPlan, metric: Metrics, *, seed: int = 0) -> PatchSweep:
    """Align pairs, once, and settle for a model and these pairs what a plan leaves open.

    Raises:
        SelfrepError: pairs that cannot be aligned; a layer, position or head out of range; metrics of the same name; a
            prefix patch between prompts of different lengths.
    """
    plan = as_plan(plan)
    return _bind(lm, align(arguments.several(pairs, PromptPair)), plan, metric, seed)


def bind_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: AnyPlan,
    metric: Metrics,
    *,
    suffix: int | None = None,
    seed: int = 0,
) -> PatchSweep:
    """The same for token ids; see `token_batch`."""
    plan = as_plan(plan)
    by_segment = [p for p in plans_of(plan) if p.by == "segment" and not p.sets]
    if any(p.where is None or set(p.where) - {"all", "last", "prefix"} for p in by_segment):
        raise SelfrepError("Token ids have no segments but 'all' and 'last': give grid(...) positions.")
    return _bind(lm, token_batch(lm, source, target, suffix), plan, metric, seed)


def _bind(
    lm: LanguageModel, batch: AlignedBatch, plan: PatchPlan | PlanUnion, metric: Metrics, seed: int
) -> PatchSweep:
    plans = bind_plans(lm, plan, batch)
    metrics = as_metrics(metric)
    if not metrics or len({m.name for m in metrics}) < len(metrics):
        raise SelfrepError(
            f"Metrics have names of their own; got {[m.name for m in metrics]}. Name a function by "
            "sr.logit_metric(name, function)."
        )
    require_prompts(lm, (*batch.source_ids, *batch.target_ids))
    require_prompts(lm, (pair.reference.ids for pair in batch.pairs if pair.reference is not None))
    answers = tuple(None if m.answers is None else m.answers(batch) for m in metrics)
    for one, own in zip(metrics, answers, strict=True):
        if own is not None:
            require_answers(lm, own, one.name)
        if one.tokens is not None:
            require_logits(lm, one.tokens, one.name)
    table = next((a for a in answers if a is not None), None)
    if table is not None and not batch.items:  # token ids: what is read is kept as items, for any cell to be redone
        kinds, index = np.unique(table, axis=0, return_inverse=True)
        names = tuple(f"answers{i}" for i in range(len(kinds)))
        batch = replace(batch, answer_ids=kinds, items=names, item_index=index.reshape(-1))
    if any(p.site == PREFIX for p in plans):
        _require_equal_lengths(batch)
    several = isinstance(metric, Iterable)
    return PatchSweep(batch, plans, metrics, answers, batch.source_ids, batch.suffix, seed, several)


def bind_plans(lm: LanguageModel, plan: PatchPlan | PlanUnion, batch: AlignedBatch) -> tuple[PatchPlan, ...]:
    """The plans with every layer, position and head spelled out for this model and these pairs."""
    bound = []
    for one in plans_of(plan):
        parts = [lm.layout.tap(site).part for site in (("k", "v") if one.site == PREFIX else (one.site,))]
        bound.append(one.bind(lm.n_layers, int(batch.suffix.max()), 0 if parts[0] is None else parts[0].n))
    return tuple(bound)


def token_batch(lm: LanguageModel, source: Any, target: Any, suffix: int | None = None) -> AlignedBatch:
    """A batch without texts or answers, in which positions that both prompts have are shared, `suffix` of them at most.

    Raises:
        SelfrepError: ids that are not [pair, token], right-aligned, and in the vocabulary.
    """
    rows = [np.asarray(torch.as_tensor(ids).cpu(), dtype=np.int64) for ids in (source, target)]
    if any(ids.ndim != 2 or ids.size == 0 for ids in rows) or len(rows[0]) != len(rows[1]):
        raise SelfrepError(
            f"Source and target are [pair, token], one pair a row; got shapes {[ids.shape for ids in rows]}."
        )
    if any((ids[:, -1] < 0).any() or ((ids[:, :-1] >= 0) & (ids[:, 1:] < 0)).any() for ids in rows):
        raise SelfrepError("Token ids are right-aligned, with −1 on the left of shorter prompts; got others.")
    common = np.minimum(*((ids >= 0).sum(1) for ids in rows))
    if suffix is not None:
        if not 1 <= suffix <= common.max():
            raise SelfrepError(
                f"A suffix has 1 … {common.max()} tokens here, all that both prompts have; got {suffix}."
            )
        common = np.minimum(common, suffix)
    width = int(common.max())
    inside = np.arange(-width, 0) >= -common[:, None]
    return AlignedBatch(
        source_ids=rows[0],
        target_ids=rows[1],
        suffix=common,
        tokens=np.where(inside, rows[1][:, -width:].astype(str), ""),
        segments=np.where(inside, "prompt", ""),
        answer_ids=np.empty((0, 2, 0), dtype=np.int64),
        items=(),
        item_index=np.zeros(len(common), dtype=np.int64),
        pairs=(),
    )


def _require_equal_lengths(batch: AlignedBatch) -> None:
    lengths = [(ids >= 0).sum(1) for ids in (batch.source_ids, batch.target_ids)]
    unequal = np.flatnonzero(lengths[0] != lengths[1])
    if len(unequal):
        i = int(unequal[0])
        raise SelfrepError(
            f"A prefix patch needs prompts of the same length; pair {i} has a source of {lengths[0][i]} tokens and a "
            f"target of {lengths[1][i]} ({len(unequal)} of {len(lengths[0])} pairs differ). Choose paraphrases of "
            "equal length: equal_lengths(pairs) keeps those that are."
        )
    if (bare := np.flatnonzero(lengths[1] <= batch.suffix)).size:
        raise SelfrepError(
            f"A prefix patch needs a prefix; all {lengths[1][bare[0]]} tokens of pair {bare[0]} are its suffix. For "
            "token ids say how many tokens at the end are the suffix: patch_tokens(..., suffix=n)."
        )
