"""Runs a sweep by replay: record the prompts, bring each cell to the residual stream it enters by, walk, read out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from selfrep.engine import schedule
from selfrep.engine.attention import shared_prefix_attention
from selfrep.engine.effects import Baselines
from selfrep.engine.metrics import Reading, Run, answer_mass, compiled
from selfrep.engine.plan import PREFIX, Cell, PatchPlan
from selfrep.engine.products import quick_products
from selfrep.engine.recording import Recording, record
from selfrep.engine.replay import Entry, Rewrite, push, rewritten, walk, written
from selfrep.engine.sweep import Sweep, disguised
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import right_aligned

STREAM = ("resid_pre", "resid_post")

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


@dataclass(frozen=True)
class Recorded:
    """A sweep whose prompts have been run, ready to be patched.

    Attributes:
        donor: the runs whose activations are written; target: the runs they are written into.
        readings: the metrics, compiled for the batch.
    """

    lm: LanguageModel
    sweep: Sweep
    donor: Recording
    target: Recording
    readings: tuple[Reading, ...]
    baselines: Baselines

    @property
    def reads(self) -> int:
        """How many tokens at the end are read."""
        return max(-p for reading in self.readings for p in reading.positions)


def record_sweep(lm: LanguageModel, sweep: Sweep) -> Recorded:
    """Run the prompts of a sweep once, and read their own answers.

    Raises:
        CannotReplay: an architecture whose blocks cannot be replayed.
        SelfrepError: a prefix swap between prompts of different lengths.
    """
    batch = sweep.batch
    sites = sorted({plan.site for plan in sweep.plans} - {*STREAM, PREFIX})
    swap = any(plan.site == PREFIX for plan in sweep.plans)
    target = _record(lm, batch.target_ids, sweep.width, sites)
    donor = _record(lm, sweep.donor_ids, sweep.width, sites, keys_values=swap)
    source = donor if sweep.donor_ids is batch.source_ids else _record(lm, batch.source_ids, 1, (), keys_values=False)
    finals = {"source": source.final, "target": target.final}

    def reference(run: Run, positions: Sequence[int]) -> Tensor:
        return lm.logits(_at(finals[run], positions))

    readings = tuple(
        compiled(metric, batch, answers, reference, lm.device)
        for metric, answers in zip(sweep.metrics, sweep.answers, strict=True)
    )
    values = {run: read_metrics(lm, readings, final[None])[0] for run, final in finals.items()}
    scale = values["source"].copy()
    references = {i: pair.reference.ids for i, pair in enumerate(batch.pairs) if pair.reference is not None}
    if references:
        final = _record(lm, right_aligned(list(references.values()), -1, np.int64), 1, (), keys_values=False).final
        wide = min(final.shape[1], target.final.shape[1])
        ends = target.final[:, -wide:].clone()
        ends[list(references)] = final[:, -wide:]
        scale[list(references)] = read_metrics(lm, readings, ends[None])[0, list(references)]
    masses: list[np.ndarray | None] = [None, None]
    if sweep.answered is not None:
        masses = [answer_mass(lm, final[:, -1], sweep.answered).cpu().numpy() for final in finals.values()]
    baselines = Baselines(values["source"], values["target"], scale - values["target"], *masses)
    return Recorded(lm, sweep, donor, target, readings, baselines)


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
    lm, sweep, cells = recorded.lm, recorded.sweep, recorded.sweep.cells
    out = np.full((len(sweep.batch.suffix), len(cells), len(sweep.metrics)), np.nan)
    index = {id(plan): i for i, plan in enumerate(sweep.plans)}
    places: dict[Place, list[int]] = defaultdict(list)
    for i in range(len(cells)) if only is None else only:
        plan, cell = cells[i]
        places[index[id(plan)], cell.layer, cell.component].append(i)
    with lm.attention(shared_prefix_attention):
        model = schedule.cost_model(lm, partial(push_tokens, recorded))
        done = 0
        for portion in _portions(recorded, list(places), budget / 8):
            members = [i for place in portion for i in places[place]]
            for part, values in _run(recorded, portion, members, index, model, budget):
                out[:, part] = np.where(_there(recorded, part)[:, :, None], values.transpose(1, 0, 2), np.nan)
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


def _portions(recorded: Recorded, places: list[Place], most_bytes: float) -> Iterator[list[Place]]:
    """Places whose residual streams together stay below a number of bytes; those of one layer together."""
    plans, target = recorded.sweep.plans, recorded.target
    one = target.residuals[0].nbytes
    portion: list[Place] = []
    held = 0.0
    for place in sorted(places, key=lambda place: (place[1], place[0], place[2] or 0)):
        size = 0 if plans[place[0]].site in (*STREAM, PREFIX) else one
        if portion and held + size > most_bytes:
            yield portion
            portion, held = [], 0.0
        portion.append(place)
        held += size
    yield portion


def _run(
    recorded: Recorded,
    portion: list[Place],
    members: list[int],
    index: dict[int, int],
    model: schedule.CostModel,
    budget: float,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """The cells of a portion, walk by walk: their numbers, and values [cell, pair, metric]."""
    lm, sweep, target = recorded.lm, recorded.sweep, recorded.target
    at_once = schedule.workers(lm)
    by_layer: dict[int, list[Place]] = defaultdict(list)
    for place in portion:
        by_layer[place[1]].append(place)

    def joinings(layer: int) -> dict[Place, Joining]:
        made: dict[Place, Joining] = {}
        for p in sorted({place[0] for place in by_layer[layer]}):
            components = [c for plan, _, c in by_layer[layer] if plan == p]
            step = max(1, 2 * model.chunk // max(1, target.rows * sweep.width))
            for at in range(0, len(components), step):
                some = components[at : at + step]
                chosen = None if some[0] is None else [c for c in some if c is not None]
                with torch.no_grad():
                    found = joining(recorded, sweep.plans[p], layer, chosen)
                    made |= {(p, layer, c): joined for c, joined in zip(some, found, strict=True)}
        return made

    with schedule.side_by_side(at_once) as each:
        joins: dict[Place, Joining] = {}
        for made in each(joinings, list(by_layer)):  # layer by layer: hooks on one layer are not felt in another
            joins |= made
        masks = sweep.masks
        place_of = {
            i: (index[id(sweep.cells[i][0])], sweep.cells[i][1].layer, sweep.cells[i][1].component) for i in members
        }
        alive = [i for i in members if masks[i].any() or sweep.cells[i][0].site == PREFIX]
        starts = [
            target.start + sweep.width - sweep.longest
            if sweep.cells[i][0].site == PREFIX
            else target.start + int(masks[i].any(0).argmax())
            for i in alive
        ]
        buffer = budget / 4 / at_once / (target.residuals[0].shape[-1] * target.residuals[0].element_size())
        todo = schedule.jobs(
            starts,
            [joins[place_of[i]].block for i in alive],
            rows=target.rows,
            width=target.width,
            n_layers=lm.n_layers,
            model=model,
            at_once=at_once,
            most_tokens=int(buffer),
        )

        def work(job: schedule.Job) -> tuple[list[int], np.ndarray]:
            part = [alive[k] for k in job.members]
            first = job.start - target.start
            covered = np.stack([masks[i][:, first:] for i in part])
            on_device = torch.as_tensor(covered, device=lm.device)  # all at once: each copy to a device waits for it
            entries = [_entry(recorded, i, joins[place_of[i]], m, first) for i, m in zip(part, on_device, strict=True)]
            return part, walked(recorded, job.start, entries, schedule.chunk_tokens(lm, model))

        yield from each(work, todo)


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
        return read_metrics(lm, recorded.readings, ends)
    except torch.OutOfMemoryError:
        if len(entries) == 1:
            raise  # fewer pairs at once, then
    pushed = min(chunk, len(entries) * recorded.target.rows * (recorded.target.width - start))
    chunk = max(1, pushed // 2)
    schedule.remember_limit(lm, chunk)
    schedule.release(lm.device)
    half = len(entries) // 2
    return np.concatenate([walked(recorded, start, some, chunk) for some in (entries[:half], entries[half:])])


MOST_LOGITS = 2**26
"""How many logits are held at once: 256 MB of float32."""


def read_metrics(lm: LanguageModel, readings: Sequence[Reading], ends: Tensor) -> np.ndarray:
    """[entry, pair, token, d_model], the last tokens → [entry, pair, metric]."""
    out: list[Tensor] = []
    for (positions, _), alike in groupby(readings, lambda reading: (reading.positions, id(reading.tokens))):
        members = list(alike)  # they read the same logits, which are computed once
        tokens = members[0].tokens
        wide = lm.d_vocab if tokens is None else len(tokens)
        step = max(1, MOST_LOGITS // (ends.shape[1] * len(positions) * wide))
        values = []
        for k in range(0, len(ends), step):
            read = _at(ends[k : k + step], positions)
            with quick_products(read.device, read.shape[:-1].numel()):
                logits = lm.logits(read, tokens)
            values.append(torch.stack([reading.value(logits) for reading in members], dim=-1))
        out.append(torch.cat(values))
    return torch.cat(out, dim=-1).float().cpu().numpy()


def _at(x: Tensor, positions: Sequence[int]) -> Tensor:
    """[..., token, feature] → [..., position, feature]; a list would be an index that is copied to the device first."""
    return torch.stack([x[..., p, :] for p in positions], dim=-2)


def _there(recorded: Recorded, part: Sequence[int]) -> np.ndarray:
    """[pair, cell] whether a pair has the cell at all."""
    sweep = recorded.sweep
    found = [
        np.ones(len(sweep.reach), bool) if sweep.cells[i][0].site == PREFIX else sweep.masks[i].any(1) for i in part
    ]
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


def _record(
    lm: LanguageModel, ids: np.ndarray, keep: int, sites: Sequence[str], *, keys_values: bool = True
) -> Recording:
    if (lacking := keep - ids.shape[1]) > 0:  # a resampled donor may be shorter than what is patched elsewhere
        ids = np.pad(ids, ((0, 0), (lacking, 0)), constant_values=-1)
    tokens = torch.as_tensor(ids, device=lm.device)
    start = ids.shape[1] - keep
    return record(lm, tokens.clamp(min=0), tokens >= 0, start=start, sites=sites, keys_values=keys_values)
