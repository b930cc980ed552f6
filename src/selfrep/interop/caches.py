"""Sweeps whose source is an `ActivationCache`: TransformerLens's cells and metrics, selfrep's replay.

`selfrep.patch` runs source prompts itself. A user of TransformerLens has already run them, and has a cache of their
activations. So the source recording is built from that cache, and the engine does the rest.

Attention patterns are no site of the engine, and need not be. To write row d of head h's pattern is to write that
head's output at token d: the new row times the values of the corrupted run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from selfrep.engine.effects import Baselines
from selfrep.engine.metrics import Metric, Reading
from selfrep.engine.plan import STREAM, PatchPlan
from selfrep.engine.progress import Progress, after, ticker
from selfrep.engine.replay.baselines import SweepRecording
from selfrep.engine.replay.cells import run_cells
from selfrep.engine.replay.memory import budget_bytes
from selfrep.engine.replay.recording import Recording, record
from selfrep.engine.sweep import PatchSweep, token_batch
from selfrep.errors import SelfrepError
from selfrep.interop.bridges import twin_of
from selfrep.interop.cells import PATTERN, Cache, CellKind, Index
from selfrep.models.language_model import LanguageModel
from selfrep.models.sites import Components

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Place = tuple[int, int | None, int | None]
"""(layer, position, head) of a cell."""


@dataclass(frozen=True)
class Corrupted:
    """The corrupted prompts and their recorded run.

    Attributes:
        lm: the model; tokens: [batch, pos]; kind: what the cells write; run: the recording.
        width: the number of positions at the end that any cell covers.
        patterns: layer → attention patterns [batch, head, pos, pos] of this run, where single entries are written.

    Example: see `run_corrupted`.
    """

    lm: LanguageModel
    tokens: Tensor
    kind: CellKind
    run: Recording
    width: int
    patterns: dict[int, Tensor]

    @property
    def part(self) -> Components | None:
        """The places of the heads at the site; None for a site without heads."""
        return self.lm.layout.tap(self.kind.site).part

    def where(self, pos: int | None) -> int | str:
        """A position as the engine counts it, from the end; all of them for None."""
        return "all" if pos is None else pos - self.tokens.shape[1]


@torch.no_grad()
def run_corrupted(bridge: TransformerBridge, tokens: Tensor, kind: CellKind, cells: Sequence[Index]) -> Corrupted:
    """Run the corrupted prompts once, as a bridge runs a tensor of ids: padding is attended to as well.

    Args:
        bridge: the model; tokens: [batch, pos] ids; kind: what the cells write; cells: as TransformerLens counts.

    Raises:
        SelfrepError: a model or a site that cannot be replayed (see `twin_of`).

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
        ...                      num_attention_heads=2, num_key_value_heads=2)
        >>> from selfrep.interop.cells import kind_of
        >>> from selfrep.models.loading import load_model
        >>> from transformer_lens.patching import layer_pos_patch_setter
        >>> bridge = load_model(LlamaForCausalLM(config)).bridge
        >>> kind = kind_of(layer_pos_patch_setter, "resid_pre")
        >>> corrupted = run_corrupted(bridge, torch.tensor([[1, 2, 3]]), kind, [(0, 1), (1, 2)])
        >>> corrupted.width, corrupted.where(2)
        (2, -1)
    """
    lm, n = twin_of(bridge).lm, tokens.shape[1]
    lm.layout.tap(kind.site)
    first = min(cell[kind.axes.index("pos")] for cell in cells) if "pos" in kind.axes else 0
    ids = tokens.to(lm.device)
    sites = () if kind.site in STREAM else (kind.site,)
    run = record(lm, ids, torch.ones_like(ids, dtype=torch.bool), start=first, sites=sites)
    patterns: dict[int, Tensor] = {}
    if "src" in kind.axes:
        names = {cell[0]: kind.hook_name(cell[0]) for cell in cells}
        kept = bridge.run_with_cache(tokens, names_filter=list(names.values()))[1]
        patterns = {layer: kept[name] for layer, name in names.items()}
    return Corrupted(lm, tokens, kind, run, n - first, patterns)


@torch.no_grad()
def sweep(
    corrupted: Corrupted,
    cache: Cache,
    readings: Sequence[Reading],
    cells: Sequence[Index],
    *,
    budget_gb: float | None = None,
    progress: Progress = None,
) -> Tensor:
    """Patch every cell.

    Args:
        corrupted: from `run_corrupted`.
        cache: the clean activation at every layer of the cells, by hook name.
        readings: the metrics, from `selfrep.interop.metrics.readings`.
        cells: as TransformerLens counts; budget_gb: memory beside the model; progress: see `selfrep.patch`.

    Returns:
        [metric, cell, batch], float32.

    Raises:
        SelfrepError: a layer or head that the model does not have, a cache of another shape.

    Example: see `selfrep.interop.generic.generic_activation_patch`, which calls it.
    """
    lm, kind = corrupted.lm, corrupted.kind
    ids = corrupted.tokens
    batch = token_batch(lm, ids, ids)
    metrics = tuple(Metric(str(i)) for i in range(len(readings)))
    unread = Baselines.empty(len(ids), len(readings), False)
    values = torch.empty(len(readings), len(cells), len(ids))
    done, tick = 0, ticker(progress, "cell")

    def count(runs: int) -> None:
        tick(runs // len(ids), len(cells))

    for src, members in _by_source(cells, kind).items():
        places = [_place(cells[c], kind) for c in members]
        plan = _plan(corrupted, places)
        number = {(cell.layer, cell.where, cell.component): i for i, cell in enumerate(plan.cells)}
        numbers = [number[layer, corrupted.where(pos), head] for layer, pos, head in places]
        donor = _donor(corrupted, cache, plan.layers or (), src)
        whole = PatchSweep(batch, (plan,), metrics, (None,) * len(metrics), batch.source_ids, batch.suffix)
        out = run_cells(
            SweepRecording(lm, whole, donor, corrupted.run, tuple(readings), unread),
            budget=budget_bytes(lm, budget_gb),
            progress=after(count, done * len(ids)),
            only=sorted(set(numbers)),
        )
        values[:, members] = torch.from_numpy(out[:, numbers]).float().permute(2, 1, 0)
        done += len(members)
    return values


def _by_source(cells: Sequence[Index], kind: CellKind) -> dict[int | None, list[int]]:
    """Numbers of the cells that are written from the same recording: those of the same source position, if any."""
    groups: dict[int | None, list[int]] = {}
    for c, cell in enumerate(cells):
        groups.setdefault(cell[kind.axes.index("src")] if "src" in kind.axes else None, []).append(c)
    return groups


def _place(cell: Index, kind: CellKind) -> Place:
    at = dict(zip(kind.axes, cell, strict=True))
    return at["layer"], at.get("pos"), at.get("head")


def _plan(corrupted: Corrupted, places: Sequence[Place]) -> PatchPlan:
    """The smallest grid that holds these places."""
    layers = tuple(sorted({layer for layer, _, _ in places}))
    positions = tuple(sorted({pos - corrupted.tokens.shape[1] for _, pos, _ in places if pos is not None}))
    heads = tuple(sorted({head for *_, head in places if head is not None})) or None
    site, part = corrupted.kind.site, corrupted.part
    plan = PatchPlan(site, "position" if positions else "segment", layers, positions or ("all",), heads)
    return plan.bind(corrupted.lm.n_layers, corrupted.tokens.shape[1], 0 if part is None else part.n)


def _donor(corrupted: Corrupted, cache: Cache, layers: Sequence[int], src: int | None) -> Recording:
    """The recording that is written from: the corrupted run's own, with what the cache holds in place."""
    run, site = corrupted.run, corrupted.kind.site
    if site in STREAM:
        streams = list(run.residuals)
        for layer in layers:
            streams[layer + (site == "resid_post")] = _cached(corrupted, cache, layer)
        return replace(run, residuals=streams)
    kept = list(run.sites[site])
    for layer in layers:
        theirs = _cached(corrupted, cache, layer)
        kept[layer] = _under(corrupted, layer, theirs, src) if corrupted.kind.activation == PATTERN else theirs
    return replace(run, sites={site: kept})


def _under(corrupted: Corrupted, layer: int, pattern: Tensor, src: int | None) -> Tensor:
    """Head outputs [batch, pos, head, d_head] of the corrupted values under another pattern [batch, head, pos, src].

    With `src`, only that column of the pattern is another; the rest is the corrupted run's own.
    """
    values = corrupted.run.keys_values[layer][1]
    values = values.repeat_interleave(pattern.shape[1] // values.shape[1], dim=1)
    if src is None:
        return rearrange(pattern.to(values) @ values, "b h t d -> b t h d")
    moved = pattern - corrupted.patterns[layer][:, :, -corrupted.width :].to(pattern)
    change = moved[..., src, None].to(values) * values[:, :, src, None]
    return corrupted.run.sites["z"][layer] + rearrange(change, "b h t d -> b t h d")


def _cached(corrupted: Corrupted, cache: Cache, layer: int) -> Tensor:
    """What a cache holds at a layer, for the positions kept: [batch, pos, ...]; a pattern [batch, head, pos, src]."""
    kind, (rows, n), part = corrupted.kind, corrupted.tokens.shape, corrupted.part
    x = cache[kind.hook_name(layer)].to(corrupted.lm.device)
    if kind.activation == PATTERN:
        wanted: tuple[int, ...] = (0 if part is None else part.n, n, n)
    else:
        wanted = (n, corrupted.lm.d_model) if part is None else (n, part.n, part.size)
        if "pos" in kind.axes and x.ndim > 1:  # position by position, what lies beyond the prompt is never read
            x = x[:, :n]
    if tuple(x.shape[1:]) != wanted or len(x) not in (1, rows):
        raise SelfrepError(
            f"clean_cache[{kind.hook_name(layer)!r}] must be {[rows, *wanted]}, for prompts as many and as long as "
            f"the corrupted ones; got {list(x.shape)}. Run both with the same number of tokens, and keep the batch "
            "dimension."
        )
    x = x.expand(rows, *wanted)
    return x[:, :, -corrupted.width :] if kind.activation == PATTERN else x[:, -corrupted.width :]
