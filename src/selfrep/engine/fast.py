"""Runs a sweep by replay: bring what each cell writes to the residual stream it enters by, walk on, and read out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from selfrep.engine import schedule, unpatched
from selfrep.engine.attention import shared_prefix_attention
from selfrep.engine.plan import PREFIX, Cell, PatchPlan
from selfrep.engine.recording import STREAM, Recording
from selfrep.engine.replay import Entry, Rewrite, push, rewritten, walk, written
from selfrep.engine.sweep import Sweep, disguised
from selfrep.engine.unpatched import Recorded

Place = tuple[int, int, int | None]
"""(index of the plan, layer, component): where in a block something is written, for all tokens."""


@dataclass(frozen=True)
class Joining:
    """How what is written at one place joins a walk: at `block`, by a residual stream or by keys or values.

    values: [row, token, d_model], or None; rewrite: for the recorded tokens, or None.
    """

    block: int
    values: Tensor | None = None
    rewrite: Rewrite | None = None


@torch.no_grad()
def run(
    recorded: Recorded,
    *,
    budget: float,
    progress: Callable[[int], None] | None = None,
    only: Sequence[int] | None = None,
) -> np.ndarray:
    """All cells: [pair, cell, metric], NaN where a pair has no token in the cell.

    Args:
        budget: bytes that patched runs may take beside the recordings.
        progress: hears how many patched runs are done.
        only: the numbers of the cells to run; the others stay NaN.
    """
    lm, sweep = recorded.lm, recorded.sweep
    out = np.full((len(sweep.batch.suffix), len(sweep.cells), len(sweep.metrics)), np.nan)
    with lm.attention(shared_prefix_attention):
        model = schedule.cost_model(lm, partial(push_tokens, recorded))
        done = 0
        for portion in _portions(recorded, _places(sweep, only), budget / 8):
            for part, values in _run(recorded, portion, model, budget):
                out[:, part] = np.where(_there(sweep, part)[:, :, None], values.transpose(1, 0, 2), np.nan)
                done += len(part) * len(out)
                if progress is not None:
                    progress(done)
    return out


def joining(
    recorded: Recorded, plan: PatchPlan, layer: int, components: Sequence[int] | None, donor: Recording | None = None
) -> Iterator[Joining]:
    """How what a plan writes at a layer joins a walk, for each of the components (or for the whole site)."""
    lm, target, sweep = recorded.lm, recorded.target, recorded.sweep
    donor = donor or recorded.donor
    block = plan.joins(layer, lm.n_layers)
    if plan.site == PREFIX:
        yield Joining(block)
        return

    def values(theirs: Tensor, own: Tensor) -> Tensor:
        theirs = disguised(sweep.batch.pairs, theirs.to(own), own, Cell(plan.site, layer, -1), sweep.seed)
        return plan.intervention.values(theirs, own, layer)

    if plan.site in STREAM:
        yield Joining(block, values(donor.residuals[block], target.residuals[block]))
        return
    own = target.sites[plan.site][layer]
    new = values(donor.sites[plan.site][layer], own)
    if plan.site in ("k", "v"):
        for rewrite in rewritten(lm, target, plan.site, layer, new, components or ()):
            yield Joining(block, rewrite=rewrite)
        return
    leaving = written(lm, target, plan.site, layer, new, components)
    if components is not None:
        yield from (Joining(block, one) for one in leaving)
        return
    yield Joining(block, leaving)


def _places(sweep: Sweep, only: Sequence[int] | None) -> dict[Place, list[int]]:
    """Where something is written, and the numbers of the cells that write it there; those of one layer together."""
    index = {id(plan): i for i, plan in enumerate(sweep.plans)}
    places: dict[Place, list[int]] = defaultdict(list)
    for i in range(len(sweep.cells)) if only is None else only:
        plan, cell = sweep.cells[i]
        places[index[id(plan)], cell.layer, cell.component].append(i)
    return dict(sorted(places.items(), key=lambda item: (item[0][1], item[0][0], item[0][2] or 0)))


def _portions(
    recorded: Recorded, places: Mapping[Place, list[int]], most_bytes: float
) -> Iterator[dict[Place, list[int]]]:
    """The places, so many at once that their residual streams together stay below a number of bytes."""
    plans, one = recorded.sweep.plans, recorded.target.residuals[0].nbytes
    portion: dict[Place, list[int]] = {}
    held = 0.0
    for place, members in places.items():
        size = 0 if plans[place[0]].site in (*STREAM, PREFIX) else one
        if portion and held + size > most_bytes:
            yield portion
            portion, held = {}, 0.0
        portion[place] = members
        held += size
    yield portion


def _run(
    recorded: Recorded, portion: Mapping[Place, list[int]], model: schedule.CostModel, budget: float
) -> Iterator[tuple[list[int], np.ndarray]]:
    """The cells of a portion, walk by walk: their numbers, and values [cell, pair, metric]."""
    lm, sweep, target, masks = recorded.lm, recorded.sweep, recorded.target, recorded.sweep.masks
    at_once = schedule.workers(lm)
    step = max(1, 2 * model.chunk // max(1, target.rows * sweep.width))
    with schedule.side_by_side(at_once) as each:
        joined = _joined(recorded, portion, step, each)
        alive = [i for i in joined if _swaps(sweep, i) or masks[i].any()]
        todo = schedule.jobs(
            [_start(recorded, i) for i in alive],
            [joined[i].block for i in alive],
            rows=target.rows,
            width=target.width,
            n_layers=lm.n_layers,
            model=model,
            at_once=at_once,
            most_tokens=int(budget / 4 / at_once / (lm.d_model * target.residuals[0].element_size())),
        )

        def work(job: schedule.Job) -> tuple[list[int], np.ndarray]:
            part, first = [alive[k] for k in job.members], job.start - target.start
            covered = np.stack([masks[i][:, first:] for i in part])
            on_device = torch.as_tensor(covered, device=lm.device)  # all at once: each copy to a device waits for it
            entries = [_entry(recorded, i, joined[i], m, first) for i, m in zip(part, on_device, strict=True)]
            return part, walked(recorded, job.start, entries, schedule.chunk_tokens(lm, model))

        yield from each(work, todo)


def _joined(
    recorded: Recorded, portion: Mapping[Place, list[int]], step: int, each: schedule.Each
) -> dict[int, Joining]:
    """How each cell of a portion joins its walk. Components are written so many at a `step`."""
    by_layer: dict[int, dict[int, list[int | None]]] = defaultdict(lambda: defaultdict(list))
    for p, layer, component in portion:
        by_layer[layer][p].append(component)

    @torch.no_grad()
    def of_layer(layer: int) -> dict[Place, Joining]:
        made: dict[Place, Joining] = {}
        for p, components in sorted(by_layer[layer].items()):
            for at in range(0, len(components), step):
                some = components[at : at + step]
                chosen = None if some[0] is None else [c for c in some if c is not None]
                found = joining(recorded, recorded.sweep.plans[p], layer, chosen)
                made |= {(p, layer, c): one for c, one in zip(some, found, strict=True)}
        return made

    joins: dict[Place, Joining] = {}
    for made in each(of_layer, list(by_layer)):  # layer by layer: hooks on one layer are not felt in another
        joins |= made
    return {i: joins[place] for place, members in portion.items() for i in members}


def _swaps(sweep: Sweep, i: int) -> bool:
    """Whether cell i swaps the prefix, and so covers no token of its own."""
    return sweep.cells[i][0].site == PREFIX


def _start(recorded: Recorded, i: int) -> int:
    """The first column that cell i changes."""
    sweep = recorded.sweep
    first = sweep.width - sweep.longest if _swaps(sweep, i) else int(sweep.masks[i].any(0).argmax())
    return recorded.target.start + first


def _entry(recorded: Recorded, i: int, joined: Joining, covered: Tensor, first: int) -> Entry:
    """Cell i in a walk from the recorded column `first` on; `covered` [row, token] are the tokens it patches."""
    plan, cell = recorded.sweep.cells[i]
    if plan.site == PREFIX:
        swapped = plan.swapped(cell.layer, recorded.lm.n_layers)
        return Entry(joined.block, torch.zeros_like(covered), None, swapped=swapped)
    rewrite = joined.rewrite
    if rewrite is not None:
        rewrite = Rewrite(rewrite.keys[:, :, first:], rewrite.values[:, :, first:])
    return Entry(joined.block, covered, None if joined.values is None else joined.values[:, first:], rewrite)


@torch.no_grad()
def walked(recorded: Recorded, start: int, entries: Sequence[Entry], chunk: int) -> np.ndarray:
    """[entry, pair, metric]. Out of memory, it goes on with half the entries and half the chunk at a time."""
    lm = recorded.lm
    try:
        ends = walk(lm, recorded.target, start, entries, reads=recorded.reads, chunk_tokens=chunk, donor=recorded.donor)
        return unpatched.read_metrics(lm, recorded.readings, ends)
    except torch.OutOfMemoryError:
        if len(entries) == 1:
            raise  # fewer pairs at once, then
    pushed = min(chunk, len(entries) * recorded.target.rows * (recorded.target.width - start))
    chunk = max(1, pushed // 2)
    schedule.remember_limit(lm, chunk)
    schedule.release(lm.device)
    half = len(entries) // 2
    return np.concatenate([walked(recorded, start, some, chunk) for some in (entries[:half], entries[half:])])


def _there(sweep: Sweep, part: Sequence[int]) -> np.ndarray:
    """[pair, cell] whether a pair has the cell at all."""
    found = [np.ones(len(sweep.reach), bool) if _swaps(sweep, i) else sweep.masks[i].any(1) for i in part]
    return np.stack(found, axis=1)


@torch.no_grad()
def push_tokens(recorded: Recorded, tokens: int) -> None:
    """Push about so many tokens through a block in the middle, as walks do, to see what it takes."""
    lm, target = recorded.lm, recorded.target
    layer = lm.n_layers // 2
    wide = max(1, min(16, target.width, tokens // target.rows))
    runs = max(1, tokens // (target.rows * wide))
    x = target.residuals[layer][:, -1:].expand(runs, -1, wide, -1).contiguous()
    push(lm, target, layer, x, target.width - wide)
