"""The cells of a sweep by replay: bring what each writes to the residual stream it enters by, walk on, and read out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.plan import PREFIX, STREAM, PatchPlan
from selfrep.engine.replay import memory, schedule
from selfrep.engine.replay.attention import shared_prefix_attention
from selfrep.engine.replay.baselines import SweepRecording, read_metrics
from selfrep.engine.replay.recording import Recording
from selfrep.engine.replay.walk import PatchedRun, push, rewrite_keys_values, walk, write_site
from selfrep.engine.sweep import PatchSweep
from selfrep.models.devices import memory_errors, release
from selfrep.models.language_model import LanguageModel

Place = tuple[int, int, int | None]
"""(index of the plan, layer, component): where in a block something is written, for all tokens."""


@torch.no_grad()
def run_cells(
    recording: SweepRecording,
    *,
    budget: float,
    progress: Callable[[int], None] = lambda done: None,
    only: Sequence[int] | None = None,
) -> np.ndarray:
    """All cells: [pair, cell, metric], NaN where a pair has no token in the cell.

    Args:
        budget: bytes that patched runs may take beside the recordings.
        progress: called with how many patched runs are done.
        only: the numbers of the cells to run; the others stay NaN.
    """
    lm, sweep = recording.lm, recording.sweep
    cells: list[int] = []
    values: list[Tensor] = []
    with lm.attention(shared_prefix_attention):
        model = schedule.cost_model(lm, partial(push_tokens, lm, recording.target))
        for portion in _portions(recording, _places(sweep, only), budget / 8):
            for part, own in _run(recording, portion, model, budget):
                cells += part
                values.append(own)
                progress(len(cells) * len(sweep))
    out = np.full((len(sweep), len(sweep.cells), len(sweep.metrics)), np.nan)
    if cells:
        numbers = torch.cat(values).cpu().numpy()  # once a batch: each copy waits for the device
        has_cell = np.stack([sweep.masks[i].any(1) for i in cells], axis=1)
        out[:, cells] = np.where(has_cell[:, :, None], numbers.transpose(1, 0, 2), np.nan)
    return out


def runs_at(
    recording: SweepRecording,
    plan: PatchPlan,
    layer: int,
    components: Sequence[int] | None,
    donor: Recording | None = None,
) -> Iterator[PatchedRun]:
    """What a plan writes at a layer, at all kept tokens, for each of the components (or for the whole site).

    Args:
        donor: whose activations are written; those of the sweep when None.
    """
    lm, target = recording.lm, recording.target
    block = plan.first_block(layer, lm.n_layers)
    everywhere = torch.ones_like(target.residuals[0][..., 0], dtype=torch.bool)
    if plan.site == PREFIX:
        yield PatchedRun(block, everywhere, source_layers=plan.source_layers(layer, lm.n_layers))
        return
    own = target.at(plan.site, layer)
    source = recording.sweep.source_values(plan.site, layer, (donor or recording.donor).at(plan.site, layer), own)
    new = plan.intervention.values(source, own, layer)
    if plan.site in STREAM:
        yield PatchedRun(block, everywhere, new)
    elif plan.site in ("k", "v"):
        for rewrite in rewrite_keys_values(lm, target, plan.site, layer, new, components or ()):
            yield PatchedRun(block, everywhere, rewrite=rewrite)
    else:
        written = write_site(lm, target, plan.site, layer, new, components)
        yield from (PatchedRun(block, everywhere, one) for one in written)


def _places(sweep: PatchSweep, only: Sequence[int] | None) -> dict[Place, list[int]]:
    """Where something is written, and the numbers of the cells that write it there; those of one layer together."""
    index = {id(plan): i for i, plan in enumerate(sweep.plans)}
    places: dict[Place, list[int]] = defaultdict(list)
    for i in range(len(sweep.cells)) if only is None else only:
        cell = sweep.cells[i]
        places[index[id(cell.plan)], cell.layer, cell.component].append(i)
    return dict(sorted(places.items(), key=lambda item: (item[0][1], item[0][0], item[0][2] or 0)))


def _portions(
    recording: SweepRecording, places: Mapping[Place, list[int]], most_bytes: float
) -> Iterator[dict[Place, list[int]]]:
    """The places, so many at once that their residual streams together stay below a number of bytes."""
    plans, one = recording.sweep.plans, recording.target.residuals[0].nbytes
    portion: dict[Place, list[int]] = {}
    room = 0.0
    for place, members in places.items():
        size = 0 if plans[place[0]].site in (*STREAM, PREFIX) else one
        if portion and room + size > most_bytes:
            yield portion
            portion, room = {}, 0.0
        portion[place] = members
        room += size
    yield portion


def _run(
    recording: SweepRecording, portion: Mapping[Place, list[int]], model: schedule.CostModel, budget: float
) -> Iterator[tuple[list[int], Tensor]]:
    """The cells of a portion, walk by walk: their numbers, and values [cell, pair, metric]."""
    lm, sweep, target, masks = recording.lm, recording.sweep, recording.target, recording.sweep.masks
    at_once = schedule.workers(lm)
    step = max(1, 2 * model.chunk // max(1, target.rows * sweep.width))
    with schedule.side_by_side(at_once) as each:
        whole = _runs(recording, portion, step, each)
        cells = [i for i in whole if masks[i].any()]
        todo = schedule.walks(
            [target.start + sweep.firsts[i] for i in cells],
            [whole[i].block for i in cells],
            rows=target.rows,
            width=target.width,
            n_layers=lm.n_layers,
            model=model,
            at_once=at_once,
            most_tokens=int(budget / 4 / at_once / (lm.d_model * target.residuals[0].element_size())),
        )

        def work(todo: schedule.Walk) -> tuple[list[int], Tensor]:
            part, first = [cells[k] for k in todo.members], todo.start - target.start
            # All masks at once, since each copy to a device waits for it.
            on_device = torch.as_tensor(np.stack([masks[i][:, first:] for i in part]), device=lm.device)
            later = {
                id(run): run.later(first) for run in (whole[i] for i in part)
            }  # cells of a place share what is written
            runs = [replace(later[id(whole[i])], mask=mask) for i, mask in zip(part, on_device, strict=True)]
            return part, walk_metrics(recording, todo.start, runs, memory.chunk_tokens(lm, model.chunk))

        yield from each(work, todo)


def _runs(
    recording: SweepRecording, portion: Mapping[Place, list[int]], step: int, each: schedule.Each
) -> dict[int, PatchedRun]:
    """What each cell of a portion writes, at all kept tokens. Components are written `step` at a time."""

    @torch.no_grad()
    def of_layer(places: Sequence[Place]) -> dict[Place, PatchedRun]:
        out: dict[Place, PatchedRun] = {}
        for (p, layer), of_plan in groupby(places, lambda place: place[:2]):
            members = list(of_plan)
            for at in range(0, len(members), step):
                some = members[at : at + step]
                components = None if some[0][2] is None else [c for *_, c in some if c is not None]
                out |= zip(some, runs_at(recording, recording.sweep.plans[p], layer, components), strict=True)
        return out

    runs: dict[Place, PatchedRun] = {}
    by_layer = [list(places) for _, places in groupby(portion, lambda place: place[1])]
    for of_one in each(of_layer, by_layer):  # layer by layer: hooks on one layer are not felt in another
        runs |= of_one
    return {i: runs[place] for place, members in portion.items() for i in members}


@torch.no_grad()
def walk_metrics(recording: SweepRecording, start: int, runs: Sequence[PatchedRun], chunk: int) -> Tensor:
    """[run, pair, metric], on the device. Out of memory, it goes on with half the runs and half the chunk at a time."""
    lm = recording.lm
    try:
        with memory_errors():
            ends = walk(
                lm, recording.target, start, runs, reads=recording.reads, chunk_tokens=chunk, donor=recording.donor
            )
            return read_metrics(lm, recording.readings, ends)
    except torch.OutOfMemoryError:
        if len(runs) == 1:
            raise  # fewer pairs at once, then
    n_tokens = min(chunk, len(runs) * recording.target.rows * (recording.target.width - start))
    chunk = max(1, n_tokens // 2)
    memory.remember_chunk(lm, chunk)
    release(lm.device)
    half = len(runs) // 2
    return torch.cat([walk_metrics(recording, start, some, chunk) for some in (runs[:half], runs[half:])])


@torch.no_grad()
def push_tokens(lm: LanguageModel, base: Recording, tokens: int) -> None:
    """Push about so many tokens through a block in the middle, as walks do, to see what it takes."""
    layer = lm.n_layers // 2
    wide = max(1, min(16, base.width, tokens // base.rows))
    runs = max(1, tokens // (base.rows * wide))
    x = base.residuals[layer][:, -1:].expand(runs, -1, wide, -1).contiguous()
    push(lm, base, layer, x, base.width - wide)
