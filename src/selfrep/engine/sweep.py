"""A sweep, as data: a batch of pairs, the cells to patch in them, and what to read. `fast` and `plain` run it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.interventions import Replace
from selfrep.engine.metrics import Metric
from selfrep.engine.plan import PREFIX, Cell, PatchPlan
from selfrep.prompts.alignment import AlignedBatch, PromptPair, trimmed


@dataclass(frozen=True, eq=False)
class Sweep:
    """What is run on some pairs.

    Attributes:
        plans: bound.
        metrics, answers: what is read; for a metric on answer sets these, [pair, side, k], else None.
        donor_ids: [pair, token] the prompts whose activations are written, right-aligned, −1 padded: the sources, or
            others' for resampling.
        reach: [pair] how many tokens at the end donor and target share.
        seed: of the random directions of "random" control pairs.
    """

    batch: AlignedBatch
    plans: tuple[PatchPlan, ...]
    metrics: tuple[Metric, ...]
    answers: tuple[np.ndarray | None, ...]
    donor_ids: np.ndarray
    reach: np.ndarray
    seed: int = 0

    def rows(self, which: Sequence[int]) -> Sweep:
        """The same for some of the pairs, in that order."""
        batch, index = self.batch.rows(which), list(which)
        own = self.donor_ids is self.batch.source_ids  # then it stays so: those who see it record the source once
        return replace(
            self,
            batch=batch,
            answers=tuple(None if answers is None else answers[index] for answers in self.answers),
            donor_ids=batch.source_ids if own else trimmed(self.donor_ids[index]),
            reach=self.reach[index],
        )

    @cached_property
    def cells(self) -> list[tuple[PatchPlan, Cell]]:
        """Every cell with its plan, plan by plan."""
        return [(plan, cell) for plan in self.plans for cell in plan.cells]

    @cached_property
    def masks(self) -> list[np.ndarray]:
        """The mask of every cell, each [pair, token]."""
        return [self.mask(plan, cell) for plan, cell in self.cells]

    @cached_property
    def width(self) -> int:
        """How many tokens at the end a cell may cover."""
        asked = [w if isinstance(w, int) else -self.longest for plan in self.plans for w in plan.where or ()]
        return min(-min(asked, default=-self.longest), self.longest)

    @property
    def longest(self) -> int:
        """The most tokens that any pair shares."""
        return int(self.batch.suffix.max())

    @property
    def answered(self) -> np.ndarray | None:
        """The answer sets of the first metric that has any, [pair, side, k]."""
        return next((answers for answers in self.answers if answers is not None), None)

    @property
    def random(self) -> bool:
        """Whether any pair is a "random" control, whose source is made up."""
        return any(pair.control == "random" for pair in self.batch.pairs)

    def mask(self, plan: PatchPlan, cell: Cell) -> np.ndarray:
        """[pair, token] which of the last `width` tokens a cell covers."""
        position = np.arange(-self.width, 0)
        there = position >= -self.reach[:, None]
        if isinstance(cell.where, int):
            return there & (position == cell.where)
        if cell.where == "last":
            return there & (position == -1)
        if cell.where == "all" or plan.site == PREFIX:
            return there
        if (own := dict(plan.sets).get(cell.where)) is not None:
            return there & np.isin(position, own)
        return there & (self.batch.segments[:, -self.width :] == cell.where)

    @property
    def kind(self) -> tuple[object, ...]:
        """What sets one sweep's replay apart from another's; the same kind need not be proven twice."""
        ragged = bool((self.batch.target_ids < 0).any())
        plans = tuple((p.site, p.by, p.window, "" if isinstance(p.intervention, Replace) else p.intervention.name)
                      for p in self.plans)  # fmt: skip
        return plans, tuple(metric.name for metric in self.metrics), ragged, self.random


def disguised(pairs: Sequence[PromptPair], source: Tensor, target: Tensor, cell: Cell, seed: int) -> Tensor:
    """For "random" controls: the target, moved as far as the source would move it, in a random direction.

    Args:
        pairs: one a row, or none at all when they came as token ids.
        source, target: [row, token, (component,) feature], right-aligned.
    """
    random = [i for i, pair in enumerate(pairs) if pair.control == "random"]
    if not random:
        return source
    out = source.clone()
    for i in random:
        pair = pairs[i]
        place = (seed, cell.site, cell.layer, pair.item, pair.source_name, pair.source_paraphrase, pair.target_name)
        drawn = np.random.default_rng(zlib.crc32("/".join(map(str, place)).encode())).standard_normal(source.shape[1:])
        noise = torch.from_numpy(drawn[::-1].copy()).to(source)  # from the last token back: the same in any batch
        distance = (source[i] - target[i]).norm(dim=-1, keepdim=True)
        out[i] = target[i] + noise / noise.norm(dim=-1, keepdim=True) * distance
    return out
