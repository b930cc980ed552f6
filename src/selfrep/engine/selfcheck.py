"""What a sweep must obey, tried on its own prompts before its numbers are believed.

Patching nothing leaves the target as it was, patching the whole last residual stream gives the source's answer,
patching a prompt with itself changes nothing, and a few cells are computed again by the reference: plain hooked
forward passes of the untouched model. Sweeps of one signature (sites, interventions, metrics, ragged or not) are
checked once for each state of a model.

The cells are those of a dozen that a patch moves most, and one at random: where a patch moves nothing, a mistake does
not either. In half precision rounding hides mistakes and looks like them. So what decides is the same check on a twin
of the model in float32; where there is no room for one, what the model's own rounding explains (see `agreement`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from selfrep.engine import agreement, reference
from selfrep.engine.interventions import InSubspace, Replace
from selfrep.engine.misses import Misses, worst
from selfrep.engine.plan import PREFIX, PatchCell, PatchPlan
from selfrep.engine.replay.baselines import SweepRecording, record_sweep
from selfrep.engine.replay.cells import run_cells, runs_at, walk_metrics
from selfrep.engine.replay.walk import PatchedRun
from selfrep.models.devices import memory_errors, release
from selfrep.models.products import is_half
from selfrep.models.twins import NoTwin, in_float32

CELLS = 3
"""How many cells of each plan are computed again."""
CANDIDATES = 12
"""Of so many, drawn at random, they are those that are moved most; and one more."""
ROWS = 4
"""How many pairs of a half-precision sweep are run again in float32."""
BUDGET = 1e9
"""Bytes for cells that are computed again."""
CHUNK = 768
"""Tokens pushed through a block at once, to try the laws."""

Sample = dict[tuple[int, int], np.ndarray]
"""(number of a cell, row of a pair) of each that is computed again → what the replay gives, [metric]."""

_results: WeakKeyDictionary[nn.Module, dict[object, Misses]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Comparison:
    """Numbers beside those that a law wants, both [case, metric], and the words for a case that fails."""

    law: str
    values: np.ndarray
    wanted: np.ndarray
    sentence: Callable[[int, int], str]

    @property
    def off(self) -> np.ndarray:
        """[case, metric], infinite where a number is none."""
        off = np.abs(self.values - self.wanted)
        return np.where(np.isnan(off), np.inf, off)

    @property
    def miss(self) -> Misses:
        """By how much the law was missed at most."""
        return {self.law: float(self.off.max())}

    def fault(self, noise: np.ndarray | None = None) -> str | None:
        """What is wrong, if the numbers do not agree: the worst case; `noise` as in `agreement.agree`."""
        if agreement.agree(self.values, self.wanted, noise):
            return None
        case, metric = np.unravel_index(int(self.off.argmax()), self.off.shape)
        return self.sentence(int(case), int(metric))


def selfcheck(recording: SweepRecording) -> Misses:
    """Run the laws of patching on a sweep's own prompts; see the head of this file.

    Raises:
        Mismatch: naming the law or the cell that fails, and both numbers.
    """
    results = _results.setdefault(recording.lm.hf, {})
    longest = int((recording.sweep.batch.target_ids >= 0).sum(1).max())
    is_long = recording.lm.rotary_side(longest) != recording.lm.rotary_side(0)
    signature = recording.lm.state.model, recording.sweep.signature, is_long
    if signature not in results:
        check = _check_half if is_half(recording.lm.dtype) else _check_exact
        results[signature] = check(recording)
    return results[signature]


def _check_exact(recording: SweepRecording) -> Misses:
    """The check in float32."""
    misses: Misses = {}
    for plan in recording.sweep.plans:
        for comparison in chain(_laws(recording, plan), _cells(recording, _sample(recording, plan))):
            if fault := comparison.fault():
                raise reference.Mismatch(fault)
            misses = worst(misses, comparison.miss)
    return misses


def _check_half(recording: SweepRecording) -> Misses:
    """The check in half precision: decided by a twin in float32, or else by the model's own rounding."""
    try:
        few = recording.sweep.rows(range(min(ROWS, len(recording.sweep))))
        with memory_errors():
            if few.source_lm is not None:
                few = replace(few, source_lm=in_float32(few.source_lm))
            exact = _check_exact(record_sweep(in_float32(recording.lm), few))
    except (NoTwin, torch.OutOfMemoryError) as reason:
        release(recording.lm.device)
        return worst(*(_within_rounding(recording, plan, str(reason)) for plan in recording.sweep.plans))
    return {f"{law}, in float32": miss for law, miss in exact.items()}


def _within_rounding(recording: SweepRecording, plan: PatchPlan, reason: str) -> Misses:
    """The check in half precision by the size of rounding; `reason` says why float32 cannot decide."""
    sample = _sample(recording, plan)
    slow, draws = _by_reference(recording, sample)
    ends, of_logits = _ends(recording)
    # A metric's draws are few, and alike where its cells are of one prompt: by luck they may be small. Those of all
    # logits together are not.
    of_metrics = np.maximum(agreement.root_mean_square(draws), of_logits)
    metrics = [*_laws(recording, plan), *_cells(recording, sample, slow)]
    for comparison, noise in [(ends, of_logits), *((one, of_metrics) for one in metrics)]:
        if fault := comparison.fault(noise):
            raise reference.Mismatch(f"{fault} Rounding does not explain it, and float32 cannot be asked: {reason}")
    return worst(*(comparison.miss for comparison in (ends, *metrics)))


def _laws(recording: SweepRecording, plan: PatchPlan) -> Iterator[Comparison]:
    """Laws that need no oracle."""
    lm, target, sweep = recording.lm, recording.target, recording.sweep
    suffix = torch.as_tensor(sweep.mask(PatchCell(plan, 0, "all")), device=target.residuals[0].device)
    unpatched = recording.baselines
    laws = {"patching nothing leaves the target": (PatchedRun(0, torch.zeros_like(suffix)), unpatched.target)}
    linear = isinstance(plan.intervention, Replace | InSubspace)
    if plan.site != PREFIX and linear and not sweep.random:
        layer = (plan.layers or (0,))[len(plan.layers or (0,)) // 2]
        own = next(runs_at(recording, plan, layer, plan.components and plan.components[:1], donor=target))
        laws["patching a prompt with itself leaves the target"] = (replace(own, mask=suffix), unpatched.target)
    # Another model's last stream is read by a head of its own.
    own_source = sweep.donor_ids is sweep.batch.source_ids and sweep.source_lm is None
    if own_source and min(sweep.width, *sweep.reach) >= recording.reads:  # all that is read is the source's
        run = PatchedRun(lm.n_layers, suffix, recording.donor.residuals[-1])
        laws["patching the whole last residual stream gives the source"] = (run, unpatched.source)
    replayed = walk_metrics(recording, target.start, [run for run, _ in laws.values()], CHUNK).cpu().numpy()

    def sentence(law: str, values: np.ndarray, wanted: np.ndarray, pair: int, metric: int) -> str:
        return (
            f"A replay must obey: {law}. On {lm.name} at {plan.site}, pair {pair}, it gives "
            f"{values[pair, metric]:.6g} where the unpatched run gives {wanted[pair, metric]:.6g}."
        )

    for (law, (_, wanted)), values in zip(laws.items(), replayed, strict=True):
        yield Comparison(law, values, wanted, partial(sentence, law, values, wanted))


def _cells(recording: SweepRecording, sample: Sample, slow: np.ndarray | None = None) -> Iterator[Comparison]:
    """A few cells by the reference; `slow` [case, metric] where they are at hand."""
    lm, sweep = recording.lm, recording.sweep
    if not sample:
        return
    if slow is None:
        slow = np.stack([reference.run_cell(lm, sweep.rows([row]), sweep.cells[i]) for i, row in sample])
    replayed = np.stack(list(sample.values()))

    def sentence(case: int, metric: int) -> str:
        cell = sweep.cells[list(sample)[case][0]]
        place = f"position {cell.where}" if isinstance(cell.where, int) else f"segment {cell.where!r}"
        part = "" if cell.component is None else f", component {cell.component}"
        return (
            f"The replay must agree with a plain forward pass. On {lm.name} at {cell.site}, layer {cell.layer}, "
            f"{place}{part}, it gives {replayed[case, metric]:.6g} and the plain pass {slow[case, metric]:.6g}."
        )

    yield Comparison("a replayed cell equals the plain forward pass", replayed, slow, sentence)


def _sample(recording: SweepRecording, plan: PatchPlan) -> Sample:
    """The cells that are computed again; those of "random" controls, whose source is made up, are left out."""
    sweep = recording.sweep
    cells = [
        (i, int(row))
        for i, cell in enumerate(sweep.cells)
        for row in np.flatnonzero(sweep.masks[i].any(1))
        if cell.plan is plan and not (sweep.batch.pairs and sweep.batch.pairs[row].control == "random")
    ]
    if not cells:
        return {}
    rng = np.random.default_rng(sweep.seed)
    drawn = [cells[k] for k in rng.choice(len(cells), size=min(max(CELLS, CANDIDATES), len(cells)), replace=False)]
    values = run_cells(recording, budget=BUDGET, only=sorted({i for i, _ in drawn}))
    moved = np.stack([np.abs(values[row, i] - recording.baselines.target[row]) for i, row in drawn])
    moved = np.where(np.isnan(moved), np.inf, moved)
    rank = moved.argsort(0).argsort(0).max(1)  # each metric has a unit of its own
    most = np.argsort(-rank, kind="stable")[: CELLS - 1].tolist()
    chosen = list(dict.fromkeys([*most, *range(len(drawn))]))[:CELLS]
    return {drawn[k]: values[drawn[k][1], drawn[k][0]] for k in chosen}


def _ends(recording: SweepRecording) -> tuple[Comparison, np.ndarray]:
    """All logits that follow the first target, as recorded and by a plain pass, [case, 1]; and their noise [1]. Many
    numbers feel a mistake that one or two may miss."""
    lm, ids = recording.lm, recording.sweep.batch.target_ids[0]

    def compute() -> np.ndarray:
        return reference.logits(lm, ids)[0].cpu().numpy()

    own, slow = lm.logits(recording.target.final[0, -1]).cpu().numpy(), compute()
    draws = agreement.rounding_draws(lm, compute, slow)

    def sentence(token: int, _: int) -> str:
        return (
            f"A recorded run must agree with a plain forward pass. On {lm.name} the logit of token {token} is "
            f"{own[token]:.6g} and that of the plain pass {slow[token]:.6g}."
        )

    law = "a recorded run ends as the plain forward pass does"
    return Comparison(law, own[:, None], slow[:, None], sentence), agreement.root_mean_square(draws.reshape(-1, 1))


def _by_reference(recording: SweepRecording, sample: Sample) -> tuple[np.ndarray | None, np.ndarray]:
    """These cells by the reference, [case, metric], and what rounding does to them, [draw, metric]; without any cells,
    to the unpatched runs."""
    lm, sweep = recording.lm, recording.sweep
    if not sample:
        return None, agreement.unpatched_draws(lm, sweep)
    slow, draws = [], []
    for i, row in sample:
        pair = sweep.rows([row])
        compute = partial(reference.run_cell, lm, pair, sweep.cells[i], reference.readings_of(lm, pair))
        slow.append(compute())
        draws.append(agreement.rounding_draws(lm, compute, slow[-1]))
    return np.stack(slow), np.concatenate(draws)
