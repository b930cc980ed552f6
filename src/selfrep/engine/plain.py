"""The slow, plain way: one hooked forward pass of the untouched Hugging Face model for each prompt and cell.

It shares nothing with the replay but the table of modules, which makes it the judge of it; and it is the way for
architectures whose blocks cannot be replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.effects import Baselines
from selfrep.engine.hooks import listen, replace
from selfrep.engine.metrics import Reading, Run, compiled, require_finite
from selfrep.engine.plan import PREFIX, Cell, PatchPlan
from selfrep.engine.sweep import Sweep, disguised
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
"""How far fast numbers may be from plain ones, relative to max(1, |plain|)."""

Activations = dict[tuple[str, int], Tensor]
"""(site, layer) → what passes there, [token, feature] or [token, component, feature]."""


class _Heard(Exception):
    """Ends a pass of which all has been heard that was wanted."""


@dataclass(frozen=True)
class Write:
    """Values [position, (component,) feature] written at a site of one block, at positions counted from the end.

    `component` is the one that is written, None all of them.
    """

    site: str
    layer: int
    positions: tuple[int, ...]
    values: Tensor
    component: int | None = None


@torch.no_grad()
def logits(lm: LanguageModel, ids: np.ndarray, positions: Sequence[int] = (-1,)) -> Tensor:
    """[position, d_vocab] at positions counted from the end, float32; ids [token] may hold −1 as padding."""
    tokens = torch.as_tensor(ids[ids >= 0], device=lm.device)[None]
    return lm.hf(tokens, use_cache=False).logits[0, list(positions)].to(lm.device).float()


@torch.no_grad()
def activations(lm: LanguageModel, ids: np.ndarray, wanted: Iterable[tuple[str, int]]) -> Activations:
    """What passes at (site, layer) in an unpatched run of one prompt, which ends behind the last of these layers."""
    keys = list(wanted)
    if not keys:
        return {}

    def stop(*_: object) -> None:
        raise _Heard

    with _listening(lm, keys) as heard, suppress(_Heard):
        handle = lm.blocks[max(layer for _, layer in keys)].register_forward_hook(stop)
        try:
            lm.hf.base_model(torch.as_tensor(ids[ids >= 0], device=lm.device)[None], use_cache=False)
        finally:
            handle.remove()
    return heard


def observed(lm: LanguageModel, ids: np.ndarray, wanted: Iterable[tuple[str, int]]) -> tuple[Tensor, Activations]:
    """The last logits [d_vocab] of an unpatched run of one prompt, in float32, and what passes at (site, layer)."""
    with _listening(lm, wanted) as heard:
        return logits(lm, ids)[0], heard


@contextmanager
def _listening(lm: LanguageModel, wanted: Iterable[tuple[str, int]]) -> Iterator[Activations]:
    heard: Activations = {}

    def hear(key: tuple[str, int], x: Tensor) -> None:
        part = lm.layout.tap(key[0]).part
        heard[key] = (x if part is None else part.read(x))[0].to(lm.device, copy=True)

    with ExitStack() as stack:
        for site, layer in set(wanted):
            module, tap = lm.tap(site, layer)
            stack.callback(listen(module, tap.end, partial(hear, (site, layer))))
        yield heard


@contextmanager
def patched(lm: LanguageModel, writes: Iterable[Write]) -> Iterator[None]:
    """Within, every pass of one row writes these values.

    What enters a norm also goes past it: `resid_mid` is written in place, as TransformerLens does, so that the whole
    stream is changed and not only what the MLP reads.
    """

    def change(write: Write, x: Tensor) -> Tensor:
        part = lm.layout.tap(write.site).part
        at = list(write.positions)
        if part is not None:
            split = part.read(x).clone()
            if write.component is None:
                split[0, at] = write.values.to(x)
            else:
                split[0, at, write.component] = write.values.to(x)
            return part.write(x, split)
        x = x if write.site == "resid_mid" else x.clone()
        x[:, at] = write.values.to(x)
        return x

    with ExitStack() as stack:
        for write in writes:
            module, tap = lm.tap(write.site, write.layer)
            stack.callback(replace(module, tap.end, partial(change, write)))
        yield


@torch.no_grad()
def swapped_logits(
    lm: LanguageModel, donor: np.ndarray, target: np.ndarray, suffix: int, layers: range, positions: Sequence[int]
) -> Tensor:
    """[position, d_vocab] of a target whose suffix reads the donor's prefix in some layers, by transformers' own cache.

    Args:
        donor, target: [token] ids of the same length; suffix: how many tokens at the end read the prefix.

    Raises:
        SelfrepError: a model that keeps no keys and values, or whose prefix sees what comes after it.
    """
    if not lm.is_causal:
        raise SelfrepError(f"A prefix swap needs a prefix that sees nothing after it; {lm.name} attends both ways.")
    runs = [torch.as_tensor(ids[ids >= 0], device=lm.device)[None] for ids in (donor, target)]
    theirs, own = (lm.hf(ids[:, :-suffix], use_cache=True) for ids in runs)
    mixed = own.past_key_values
    for layer in layers:
        swapped, kept = theirs.past_key_values.layers[layer], mixed.layers[layer]
        if not isinstance(getattr(kept, "keys", None), Tensor):
            raise SelfrepError(f"A prefix swap needs keys and values; layer {layer} of {lm.name} keeps none.")
        kept.keys, kept.values = swapped.keys, swapped.values
    after = lm.hf(runs[1][:, -suffix:], past_key_values=mixed, use_cache=True).logits
    return torch.cat([own.logits, after], dim=1)[0, list(positions)].float()


def write(sweep: Sweep, plan: PatchPlan, cell: Cell, row: int, donor: Activations, own: Activations) -> Write:
    """What a cell writes into the run of a pair's target."""
    n = int(sweep.reach[row])
    source, target = (acts[cell.site, cell.layer][-n:][None] for acts in (donor, own))
    source = disguised(sweep.batch.pairs[row : row + 1], source, target, cell, sweep.seed)
    values = plan.intervention.values(source, target, cell.layer)[0]
    covered = tuple(int(p) for p in np.flatnonzero(sweep.mask(plan, cell)[row]) - sweep.width)
    values = values[[n + p for p in covered]]
    if cell.component is not None:
        values = values[:, cell.component]
    return Write(cell.site, cell.layer, covered, values, cell.component)


def readings(lm: LanguageModel, sweep: Sweep, row: int) -> list[Reading]:
    """The metrics, compiled for one pair alone."""
    one = sweep.batch.rows([row])

    def reference(run: Run, positions: Sequence[int]) -> Tensor:
        return logits(lm, getattr(one, f"{run}_ids")[0], positions)[None]

    return [
        compiled(metric, one, None if answers is None else answers[[row]], reference, lm.device)
        for metric, answers in zip(sweep.metrics, sweep.answers, strict=True)
    ]


def read(readings: Sequence[Reading], logits_at: Callable[[Sequence[int]], Tensor]) -> np.ndarray:
    """The metrics [metric] of one prompt's run, of its logits [position, d_vocab] at the positions they ask for."""
    positions = sorted({p for reading in readings for p in reading.positions})
    found = logits_at(positions)
    values = []
    for reading in readings:
        chosen = found[[positions.index(p) for p in reading.positions]]
        chosen = chosen if reading.tokens is None else chosen[:, reading.tokens.to(chosen.device)]
        values.append(float(reading.value(chosen[None])[0]))
    return np.array(values)


def cell(
    lm: LanguageModel,
    sweep: Sweep,
    plan: PatchPlan,
    where: Cell,
    row: int,
    asked: Sequence[Reading] | None = None,
    known: tuple[Activations, Activations] | None = None,
) -> np.ndarray:
    """The metrics [metric] of one pair's target, run with one cell patched.

    Args:
        asked, known: the metrics for this pair, and the activations of its donor and target, where they are at hand.
    """
    ids, donor_ids = sweep.batch.target_ids[row], sweep.donor_ids[row]
    asked = readings(lm, sweep, row) if asked is None else asked
    if plan.site == PREFIX:
        layers = plan.swapped(where.layer, lm.n_layers)
        return read(asked, partial(swapped_logits, lm, donor_ids, ids, int(sweep.batch.suffix[row]), layers))
    if known is None:
        known = (
            activations(lm, donor_ids, [(where.site, where.layer)]),
            activations(lm, ids, [(where.site, where.layer)]),
        )
    with patched(lm, [write(sweep, plan, where, row, *known)]):
        return read(asked, partial(logits, lm, ids))


def run(lm: LanguageModel, sweep: Sweep, progress: Callable[[int], None] | None) -> tuple[np.ndarray, Baselines]:
    """All cells of a sweep: [pair, cell, metric], NaN where a pair has no token in the cell; and the baselines."""
    batch, cells = sweep.batch, sweep.cells
    wanted = {(where.site, where.layer) for plan, where in cells if plan.site != PREFIX}
    out = np.full((len(batch.suffix), len(cells), len(sweep.metrics)), np.nan)
    baselines = Baselines.empty(len(batch.suffix), len(sweep.metrics), sweep.answered is not None)
    for row in range(len(out)):
        asked = readings(lm, sweep, row)
        known = activations(lm, sweep.donor_ids[row], wanted), activations(lm, batch.target_ids[row], wanted)
        for i, (plan, where) in enumerate(cells):
            if plan.site == PREFIX or sweep.mask(plan, where)[row].any():
                out[row, i] = cell(lm, sweep, plan, where, row, asked, known)
            if progress is not None:
                progress(row * len(cells) + i + 1)
        _baselines(lm, sweep, row, asked, baselines)
    return out, baselines


def _baselines(lm: LanguageModel, sweep: Sweep, row: int, asked: Sequence[Reading], into: Baselines) -> None:
    batch = sweep.batch
    ends = {"source": batch.source_ids[row], "target": batch.target_ids[row]}
    into.source[row], into.target[row] = (read(asked, partial(logits, lm, ids)) for ids in ends.values())
    reference = batch.pairs[row].reference if batch.pairs else None
    scale = into.source[row] if reference is None else read(asked, partial(logits, lm, np.array(reference.ids)))
    into.total[row] = scale - into.target[row]
    if sweep.answered is None:
        return
    for ids, mass in zip(ends.values(), (into.source_mass, into.target_mass), strict=True):
        last = logits(lm, ids)[0]
        require_finite(lm, last)
        answers = sweep.answered[row].reshape(-1)
        if mass is not None:
            mass[row] = float(last.softmax(-1)[torch.as_tensor(answers[answers >= 0], device=last.device)].sum())
