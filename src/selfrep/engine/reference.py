"""The slow way, and the judge: one hooked forward pass of the untouched Hugging Face model for each prompt and cell.

It shares nothing with the replay but the table of modules, which makes it the judge of it; and it is the way for
architectures whose blocks cannot be replayed. All its functions take one prompt, or one pair, at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from selfrep.engine.effects import Baselines
from selfrep.engine.hooks import EndOfPass, Place, calling_after, calling_before, hearing, replacing
from selfrep.engine.metrics import Reading, Run, answer_mass, compile_metric
from selfrep.engine.plan import PatchCell
from selfrep.engine.sweep import PatchSweep
from selfrep.errors import SelfrepError
from selfrep.models import devices
from selfrep.models.language_model import LanguageModel
from selfrep.models.products import is_half
from selfrep.models.rotary import full_cache
from selfrep.models.state import is_bare_linear

Activations = dict[Place, Tensor]
"""(site, layer) → what passes there, [token, feature] or [token, component, feature]."""


class Mismatch(SelfrepError):
    """What was run the fast way does not agree with plain forward passes of the model."""


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
    with unembedding_in_float32(lm):
        return lm.hf(tokens, use_cache=False).logits[0, list(positions)].to(lm.device).float()


@contextmanager
def unembedding_in_float32(lm: LanguageModel) -> Iterator[None]:
    """Within, a half-precision model unembeds in float32: what a metric reads is not rounded to eight bits first."""

    head = lm.hf.get_submodule(lm.layout.unembed)
    inputs: list[Tensor] = []

    def hear(args: tuple[Tensor, ...], _: object) -> None:
        inputs.append(args[0])

    def exact(out: Tensor) -> Tensor:
        h = inputs.pop()
        if not (isinstance(head, nn.Linear) and is_bare_linear(head)):
            return out.float()
        with devices.fetch_weights(head):
            weight, bias = head.weight.float(), None if head.bias is None else head.bias.float()
            return nn.functional.linear(h.to(weight.device).float(), weight, bias)

    with ExitStack() as stack:
        if is_half(lm.dtype):
            stack.enter_context(calling_before(head, hear))
            stack.enter_context(calling_after(head, exact))
        yield


@torch.no_grad()
def activations(lm: LanguageModel, ids: np.ndarray, wanted: Iterable[Place]) -> Activations:
    """What passes at (site, layer) in an unpatched run of one prompt, which ends behind the last of these layers."""
    keys = list(wanted)
    if not keys:
        return {}

    def stop(*_: object) -> None:
        raise EndOfPass

    last = lm.blocks[max(layer for _, layer in keys)]
    with _listening(lm, keys) as out, suppress(EndOfPass), calling_after(last, stop):
        lm.hf.base_model(torch.as_tensor(ids[ids >= 0], device=lm.device)[None], use_cache=False)
    return out


def logits_and_activations(lm: LanguageModel, ids: np.ndarray, wanted: Iterable[Place]) -> tuple[Tensor, Activations]:
    """The last logits [d_vocab] of an unpatched run of one prompt, in float32, and what passes at (site, layer)."""
    with _listening(lm, wanted) as out:
        return logits(lm, ids)[0], out


@contextmanager
def _listening(lm: LanguageModel, wanted: Iterable[Place]) -> Iterator[Activations]:
    out: Activations = {}

    def hear(place: Place, x: Tensor) -> None:
        out[place] = x[0].to(lm.device, copy=True)

    with hearing(lm, set(wanted), hear):
        yield out


@contextmanager
def writing(lm: LanguageModel, write: Write) -> Iterator[None]:
    """Within, every pass of one row writes these values.

    What enters a norm also goes past it: `resid_mid` is written in place, as TransformerLens does, so that the whole
    stream is changed and not only what the MLP reads.
    """

    module, tap = lm.tap(write.site, write.layer)
    at = list(write.positions)

    def change(x: Tensor) -> Tensor:
        if tap.part is not None:
            split = tap.part.read(x).clone()
            split[0, at, slice(None) if write.component is None else write.component] = write.values.to(x)
            return tap.part.write(x, split)
        x = x if write.site == "resid_mid" else x.clone()
        x[:, at] = write.values.to(x)
        return x

    with replacing(module, tap.end, change):
        yield


@torch.no_grad()
def prefix_patched_logits(
    lm: LanguageModel, donor: np.ndarray, target: np.ndarray, suffix: int, layers: range, positions: Sequence[int]
) -> Tensor:
    """[position, d_vocab] of a target whose suffix reads the donor's prefix in some layers, by transformers' own cache.

    Args:
        donor, target: [token] ids of the same length; suffix: how many tokens at the end read the prefix.

    Raises:
        SelfrepError: a model that keeps no keys and values, or whose prefix sees what comes after it; hooks of others,
            which would see the prefix and what follows it one after the other.
    """
    lm.require_replay()
    if not lm.is_causal:
        raise SelfrepError(f"A prefix patch needs a prefix that sees nothing after it; {lm.name} attends both ways.")
    runs = [torch.as_tensor(ids[ids >= 0], device=lm.device)[None] for ids in (donor, target)]
    n = runs[1].shape[1]
    # Where the rotary tables of the whole are not those of its prefix, the prefix is cut from a run of the whole.
    whole = lm.rotary_side(n) != lm.rotary_side(n - suffix)
    with unembedding_in_float32(lm):
        if whole:
            theirs, own = (lm.hf(ids, past_key_values=full_cache(), use_cache=True) for ids in runs)
        else:
            theirs, own = (lm.hf(ids[:, :-suffix], use_cache=True) for ids in runs)
    if whole:
        for run in (theirs, own):
            run.past_key_values.crop(-suffix)
    mixed = own.past_key_values
    for layer in layers:
        other, kept = theirs.past_key_values.layers[layer], mixed.layers[layer]
        if not isinstance(getattr(kept, "keys", None), Tensor):
            raise SelfrepError(f"A prefix patch needs keys and values; layer {layer} of {lm.name} keeps none.")
        kept.keys, kept.values = other.keys, other.values
    with unembedding_in_float32(lm):
        after = lm.hf(runs[1][:, -suffix:], past_key_values=mixed, use_cache=True).logits
    return torch.cat([own.logits[:, : n - suffix], after], dim=1)[0, list(positions)].float()


def write_of(pair: PatchSweep, cell: PatchCell, donor: Activations, own: Activations) -> Write:
    """What a cell writes into the run of a pair's target, of what passes in the donor's and in the target's own run."""
    n = int(pair.reach[0])
    source, target = (acts[cell.site, cell.layer][-n:][None] for acts in (donor, own))
    values = cell.values(pair.source_values(cell.site, cell.layer, source, target), target)[0]
    positions = tuple(int(p) for p in np.flatnonzero(pair.mask(cell)[0]) - pair.width)
    values = values[[n + p for p in positions]]
    if cell.component is not None:
        values = values[:, cell.component]
    return Write(cell.site, cell.layer, positions, values, cell.component)


def readings_of(lm: LanguageModel, pair: PatchSweep) -> list[Reading]:
    """The metrics, compiled for one pair."""

    def unpatched(run: Run, positions: Sequence[int]) -> Tensor:
        model = pair.source_lm or lm if run == "source" else lm
        return logits(model, getattr(pair.batch, f"{run}_ids")[0], positions)[None].to(lm.device)

    return [
        compile_metric(metric, pair.batch, answers, unpatched, lm.device)
        for metric, answers in zip(pair.metrics, pair.answers, strict=True)
    ]


def read(readings: Sequence[Reading], logits_at: Callable[[Sequence[int]], Tensor]) -> np.ndarray:
    """The metrics [metric] of one prompt's run, of its logits [position, d_vocab] at the positions they read."""
    positions = sorted({p for reading in readings for p in reading.positions})
    every = logits_at(positions)
    values = []
    for reading in readings:
        own = every[[positions.index(p) for p in reading.positions]]
        own = own if reading.tokens is None else own[:, reading.tokens.to(own.device)]
        values.append(float(reading.value(own[None])[0]))
    return np.array(values)


def run_cell(
    lm: LanguageModel,
    pair: PatchSweep,
    cell: PatchCell,
    readings: Sequence[Reading] | None = None,
    passing: tuple[Activations, Activations] | None = None,
) -> np.ndarray:
    """The metrics [metric] of one pair's target, run with one cell patched.

    Args:
        pair: a sweep of one pair.
        readings, passing: the metrics of this pair, and the activations of its donor and target, where they are at
            hand.
    """
    ids, donor_ids = pair.batch.target_ids[0], pair.donor_ids[0]
    readings = readings_of(lm, pair) if readings is None else readings
    if cell.is_prefix:
        layers = cell.source_layers(lm.n_layers)
        suffix = int(pair.batch.suffix[0])
        return read(readings, partial(prefix_patched_logits, lm, donor_ids, ids, suffix, layers))
    if passing is None:
        place = [(cell.site, cell.layer)]
        passing = activations(pair.source_lm or lm, donor_ids, place), activations(lm, ids, place)
    with writing(lm, write_of(pair, cell, *passing)):
        return read(readings, partial(logits, lm, ids))


def run_sweep(
    lm: LanguageModel, sweep: PatchSweep, progress: Callable[[int], None] = lambda done: None
) -> tuple[np.ndarray, Baselines]:
    """All cells of a sweep: [pair, cell, metric], NaN where a pair has no token in the cell; and the baselines."""
    out = np.full((len(sweep), len(sweep.cells), len(sweep.metrics)), np.nan)
    parts = []
    for row in range(len(sweep)):
        pair = sweep.rows([row])
        readings = readings_of(lm, pair)
        places = {(cell.site, cell.layer) for cell in pair.cells if not cell.is_prefix}
        passing = (
            activations(pair.source_lm or lm, pair.donor_ids[0], places),
            activations(lm, pair.batch.target_ids[0], places),
        )
        for i, cell in enumerate(pair.cells):
            if pair.masks[i].any():
                out[row, i] = run_cell(lm, pair, cell, readings, passing)
            progress(row * len(pair.cells) + i + 1)
        parts.append(_baselines(lm, pair, readings))
    return out, Baselines.merged(parts)


def _baselines(lm: LanguageModel, pair: PatchSweep, readings: Sequence[Reading]) -> Baselines:
    other = pair.source_lm or lm
    prompts = ((other, pair.batch.source_ids[0]), (lm, pair.batch.target_ids[0]))
    source, target = (read(readings, partial(logits, model, ids)) for model, ids in prompts)
    real = pair.batch.pairs[0].reference if pair.batch.pairs else None
    scale = source if real is None else read(readings, partial(logits, other, np.array(real.ids)))
    masses: list[np.ndarray | None] = [None, None]
    if pair.answer_sets is not None:
        masses = [answer_mass(model, logits(model, ids), pair.answer_sets).cpu().numpy() for model, ids in prompts]
    return Baselines(source[None], target[None], (scale - target)[None], *masses)
