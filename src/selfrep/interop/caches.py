"""Sweeps whose source is an `ActivationCache`: TransformerLens's cells, TransformerLens's metrics, selfrep's replay.

`selfrep.patch` runs source prompts itself. Whoever comes from TransformerLens has already run them, and brings what was
cached. So the recording that is written from is built from that cache, and the engine does the rest.

Attention patterns are no site of the engine, and need not be: writing row d of head h's pattern is writing that head's
output at token d, namely the new row times the values that the corrupted run has there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from transformer_lens.utilities import get_act_name

from selfrep.engine import cost, fast, plain
from selfrep.engine.effects import Baselines
from selfrep.engine.fast import STREAM
from selfrep.engine.metrics import Metric, Reading
from selfrep.engine.patch import token_batch
from selfrep.engine.plan import PatchPlan
from selfrep.engine.proof import Mismatch
from selfrep.engine.replay import Recording, record
from selfrep.engine.sweep import Sweep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel, load_model
from selfrep.models.sites import component

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Cache = Mapping[str, Tensor] | Any
"""Hook name → activation [batch, pos, ...]: an `ActivationCache`, or a plain dictionary."""
Index = tuple[int, ...]
"""One cell, as TransformerLens counts: layer first, positions from the start."""
Setter = Callable[[Tensor, Sequence[int], Tensor], Tensor]
Progress = Callable[[int, int], None]
PATTERN = "pattern"
CHECKED = 2
"""How many cells of each kind are run by TransformerLens too."""


@dataclass(frozen=True)
class Kind:
    """What the cells of a sweep write.

    Attributes:
        activation: TransformerLens's short name: resid_pre, …, z, q, k, v, or pattern.
        axes: what the numbers of an index mean: layer, then some of pos, head, src. Without pos, all positions at once.
        setter: TransformerLens's function that writes one cell; the self-check runs it.
    """

    activation: str
    axes: tuple[str, ...]
    setter: Setter

    @property
    def site(self) -> str:
        """Where the engine writes it."""
        return "z" if self.activation == PATTERN else self.activation

    def named(self, index: Index) -> str:
        """A cell in words."""
        return ", ".join(f"{axis} {i}" for axis, i in zip(self.axes, index, strict=True))


@dataclass(frozen=True)
class Logits:
    """Hands a metric logits of the form that it expects, [batch, pos, d_vocab], of those that it says it reads.

    Positions that it does not read are NaN, so that a metric which reads them all the same says so itself. They are
    filled in once and not for each cell.

    Attributes:
        n_tokens: how long the prompts are; positions: what is read, counted from the end.
    """

    n_tokens: int
    positions: tuple[int, ...]
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def whole(self) -> bool:
        """Whether all positions are read."""
        return len(self.positions) == self.n_tokens

    def __call__(self, read: Tensor) -> Tensor:
        """[batch, position that is read, d_vocab] → [batch, pos, d_vocab]; valid until the next call."""
        if self.whole:
            return read
        shape = (len(read), self.n_tokens, read.shape[-1])
        canvas = self._kept.get("canvas")
        if (
            canvas is None or canvas.is_inference() or canvas._version != self._kept["version"]
        ):  # a metric wrote into it
            canvas = self._kept["canvas"] = read.new_full(shape, torch.nan)
        canvas[:, list(self.positions)] = read
        self._kept["version"] = 0 if canvas.is_inference() else canvas._version
        return canvas


@dataclass(frozen=True)
class Held:
    """What is kept for a bridge: a selfrep model on its weights, and the kinds of sweep proven on it."""

    stamp: tuple[tuple[int, int], ...]
    lm: LanguageModel
    proven: set[object] = field(default_factory=set)


_held: WeakKeyDictionary[nn.Module, Held] = WeakKeyDictionary()


def held(bridge: TransformerBridge) -> Held:
    """A selfrep model on the weights of a bridge; the same one again until they are replaced or edited.

    Raises:
        SelfrepError: a bridge that cannot be taken apart, or that carries hooks which a replay would not feel.
    """
    hooked = [name for name, point in getattr(bridge, "hook_dict", {}).items() if point.fwd_hooks]
    if hooked:
        raise SelfrepError(
            f"A replay runs the model without its TransformerBridge; this one has hooks of its own at {hooked[:3]}. "
            "bridge.reset_hooks() removes them."
        )
    found = _held.get(bridge) if isinstance(bridge, nn.Module) else None
    if found is None or found.stamp != _stamp(bridge):
        lm = load_model(bridge)
        found = _held[bridge] = Held(_stamp(bridge), lm)
    return found


def _stamp(bridge: TransformerBridge) -> tuple[tuple[int, int], ...]:
    """Changes when a weight is moved elsewhere or written to."""
    weights: Any = nn.Module.parameters(bridge.original_model)
    return tuple((w.data_ptr(), 0 if w.is_inference() else w._version) for w in weights)


@dataclass(frozen=True)
class Corrupted:
    """The prompts that are patched, once they have been run.

    Attributes:
        tokens: [batch, pos]; kind: what will be written; width: how many positions at the end any cell covers.
        patterns: layer → its own attention patterns [batch, head, pos, pos], where single entries of them are written.
    """

    owner: Held
    tokens: Tensor
    kind: Kind
    run: Recording
    width: int
    patterns: dict[int, Tensor]

    @property
    def lm(self) -> LanguageModel:
        """The model."""
        return self.owner.lm


def run_corrupted(bridge: TransformerBridge, tokens: Tensor, kind: Kind, cells: Sequence[Index]) -> Corrupted:
    """Run the prompts once, as a bridge runs a tensor of ids: every token is seen, padding too.

    Raises:
        SelfrepError: a model or a site that cannot be replayed (see `held`).
    """
    owner = held(bridge)
    owner.lm.layout.tap(kind.site)
    n = tokens.shape[1]
    first = min((i[kind.axes.index("pos")] for i in cells), default=0) if "pos" in kind.axes else 0
    sites = () if kind.site in STREAM else (kind.site,)
    ids = tokens.to(owner.lm.device)
    run = record(owner.lm, ids, torch.ones_like(ids, dtype=torch.bool), start=first, sites=sites)
    patterns: dict[int, Tensor] = {}
    if "src" in kind.axes:
        names = {get_act_name(PATTERN, layer=index[0]): index[0] for index in cells}
        with torch.no_grad():
            kept = bridge.run_with_cache(tokens, names_filter=list(names))[1]
        patterns = {layer: kept[name] for name, layer in names.items()}
    return Corrupted(owner, tokens, kind, run, n - first, patterns)


@torch.no_grad()
def sweep(
    corrupted: Corrupted,
    cache: Cache,
    metrics: Sequence[Callable[[Tensor], Tensor]],
    cells: Sequence[Index],
    view: Logits,
    *,
    budget_gb: float | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """Patch every cell.

    Args:
        cache: holds the activation at every layer that cells name.
        metrics: logits [batch, pos, d_vocab] in float32 → [batch]. They are called by one thread at a time.
        view: which of the logits they read.

    Returns:
        [metric, cell, batch] of the patched runs and [metric, batch] of the unpatched one, float32.

    Raises:
        SelfrepError: a cell out of range, a cache of another shape, a metric that reads more than it says.
    """
    lm, kind, target = corrupted.lm, corrupted.kind, corrupted.run
    lock = Lock()  # walks run side by side; a metric is the caller's own function, and the canvas is shared

    def reading(metric: Callable[[Tensor], Tensor]) -> Reading:
        def value(logits: Tensor) -> Tensor:
            flat = logits.reshape(-1, *logits.shape[-3:])
            with lock:
                return torch.stack([metric(view(one)) for one in flat]).reshape(logits.shape[:-2]).to(logits.device)

        return Reading(view.positions, None, value)

    baseline = _baseline(lm, target, metrics, view)
    readings = tuple(reading(metric) for metric in metrics)
    values = torch.empty(len(metrics), len(cells), len(corrupted.tokens))
    at = [kind.axes.index(axis) if axis in kind.axes else None for axis in ("layer", "pos", "head", "src")]
    parted = [tuple(None if i is None else index[i] for i in at) for index in cells]
    done = 0
    for src in sorted({src for *_, src in parted}, key=lambda src: src or 0):
        members = [c for c, (*_, own) in enumerate(parted) if own == src]
        wanted = [parted[c][:3] for c in members]
        plan = _plan(corrupted, wanted)
        place = {(cell.layer, cell.where, cell.component): i for i, cell in enumerate(plan.cells)}
        numbers = [place[layer, _where(corrupted, pos), head] for layer, pos, head in wanted]  # type: ignore[index]
        batch = token_batch(lm, corrupted.tokens, corrupted.tokens)
        asked = Sweep(batch, (plan,), tuple(Metric(str(i)) for i in range(len(metrics))), (None,) * len(metrics),
                      batch.source_ids, batch.suffix)  # fmt: skip
        empty = Baselines.empty(len(batch.suffix), len(metrics), False)
        donor = _donor(corrupted, cache, plan.layers or (), src)
        told = None if progress is None else _told(progress, done, len(cells), len(batch.suffix))
        out = fast.run(
            fast.Recorded(lm, asked, donor, target, readings, empty),
            budget=cost.budget_bytes(lm, budget_gb),
            progress=told,
            only=sorted(set(numbers)),
        )
        values[:, members] = torch.from_numpy(out[:, numbers].transpose(2, 1, 0)).float()
        done += len(members)
    return values, baseline


def _told(progress: Progress, before: int, total: int, rows: int) -> Callable[[int], None]:
    return lambda done: progress(before + done // rows, total)


def _baseline(
    lm: LanguageModel, target: Recording, metrics: Sequence[Callable[[Tensor], Tensor]], view: Logits
) -> Tensor:
    """[metric, batch] of the unpatched run; a metric must say the same whether or not it sees what it does not read."""
    whole = lm.logits(target.final)
    said = torch.stack([metric(whole) for metric in metrics]).float().cpu()
    if not view.whole:
        seen = torch.stack([metric(view(whole[:, list(view.positions)])) for metric in metrics]).float().cpu()
        if not torch.allclose(seen, said, rtol=1e-5, atol=1e-6, equal_nan=True):
            worst = (seen - said).abs().nan_to_num(nan=torch.inf).flatten().argmax()
            raise SelfrepError(
                f"A metric reads no logits but those at reads={view.positions}; this one gives "
                f"{said.flatten()[worst]:.6g} where it sees all logits of the corrupted prompts, and "
                f"{seen.flatten()[worst]:.6g} where the others are NaN. Name every position that it reads, or leave "
                "reads out."
            )
    return said


def _where(corrupted: Corrupted, pos: int | None) -> int | str:
    return "all" if pos is None else pos - corrupted.tokens.shape[1]


def _plan(corrupted: Corrupted, wanted: Sequence[tuple[int | None, ...]]) -> PatchPlan:
    """The smallest grid that holds these cells (layer, pos, head)."""
    lm, site = corrupted.lm, corrupted.kind.site
    layers, positions, heads = (sorted({c[i] for c in wanted if c[i] is not None}) for i in range(3))
    where = tuple(_where(corrupted, pos) for pos in positions) or ("all",)
    part = lm.layout.tap(site).part if component(site) else None
    by = "position" if positions else "segment"
    plan = PatchPlan(site, by, tuple(layers), where, tuple(heads) or None)  # type: ignore[arg-type]
    return plan.bound(lm.n_layers, corrupted.tokens.shape[1], 0 if part is None else part.n)


def _donor(corrupted: Corrupted, cache: Cache, layers: Sequence[int], src: int | None) -> Recording:
    """The recording that is written from: the corrupted run's own, with what the cache holds in place."""
    target, kind = corrupted.run, corrupted.kind
    if kind.site in STREAM:
        streams = list(target.residuals)
        for layer in layers:
            streams[layer + (kind.site == "resid_post")] = _cached(corrupted, cache, layer)
        return replace(target, residuals=streams)
    kept = list(target.sites[kind.site])
    for layer in layers:
        theirs = _cached(corrupted, cache, layer)
        kept[layer] = _mixed(corrupted, layer, theirs, src) if kind.activation == PATTERN else theirs
    return replace(target, sites={kind.site: kept})


def _mixed(corrupted: Corrupted, layer: int, pattern: Tensor, src: int | None) -> Tensor:
    """Head outputs [batch, pos, head, d_head] of the corrupted values under another pattern [batch, head, pos, pos].

    With `src`, only that column of the pattern is another; the rest is the corrupted run's own.
    """
    values = corrupted.run.keys_values[layer][1]
    values = values.repeat_interleave(pattern.shape[1] // values.shape[1], dim=1)
    if src is None:
        return rearrange(pattern.to(values) @ values, "b h t d -> b t h d")
    moved = (pattern - corrupted.patterns[layer][:, :, -corrupted.width :].to(pattern))[..., src, None].to(values)
    return corrupted.run.sites["z"][layer] + rearrange(moved * values[:, :, src, None], "b h t d -> b t h d")


def _cached(corrupted: Corrupted, cache: Cache, layer: int) -> Tensor:
    """What a cache holds at a layer, [batch, pos, ...] for the positions kept (a pattern: [batch, head, pos, pos])."""
    kind, (rows, n) = corrupted.kind, corrupted.tokens.shape
    name = get_act_name(kind.activation, layer=layer)
    x = cache[name].to(corrupted.lm.device)
    if kind.activation == PATTERN:
        own: tuple[int, ...] = (x.shape[1], n, n)
        fits = x.ndim == 4 and tuple(x.shape[1:]) == own
    else:
        part = corrupted.lm.layout.tap(kind.site).part if component(kind.site) else None
        own = (n, corrupted.lm.d_model) if part is None else (n, part.n, part.size)
        longer = "pos" in kind.axes and x.ndim > 1 and x.shape[1] > n  # by position, what lies beyond is never read
        fits = x.ndim == len(own) + 1 and tuple(x.shape[2:]) == own[1:] and (longer or x.shape[1] == n)
    if not fits or x.shape[0] not in (1, rows):
        raise SelfrepError(
            f"clean_cache[{name!r}] must be {[rows, *own]}, as in a run of prompts as many and as long as the corrupted "
            f"ones; it is {list(x.shape)}. Run both with the same number of tokens, and keep the batch dimension."
        )
    x = x.expand(rows, *x.shape[1:])
    return x[:, :, -corrupted.width :] if kind.activation == PATTERN else x[:, :n][:, -corrupted.width :]


def _set(setter: Setter, index: Index, clean: Tensor, corrupted: Tensor, hook: Any) -> Tensor:
    return setter(corrupted, index, clean)


@torch.no_grad()
def verify(
    bridge: TransformerBridge,
    corrupted: Corrupted,
    cache: Cache,
    metrics: Sequence[Callable[[Tensor], Tensor]],
    cells: Sequence[Index],
    values: Tensor,
    baseline: Tensor,
) -> None:
    """The first time a bridge is asked for this kind of sweep: a few cells, run by TransformerLens, must say the same.

    Args:
        values: [metric, cell, batch]; baseline: [metric, batch].

    Raises:
        Mismatch: naming the cell and both numbers.
    """
    kind, lm = corrupted.kind, corrupted.lm
    key = (kind.activation, kind.axes)
    if key in corrupted.owner.proven:
        return
    picked = np.random.default_rng(0).choice(len(cells), size=min(CHECKED, len(cells)), replace=False)
    for c in (None, *picked.tolist()):
        hooks = []
        if c is not None:
            name = get_act_name(kind.activation, layer=cells[c][0])
            hooks = [(name, partial(_set, kind.setter, cells[c], cache[name]))]
        logits = bridge.run_with_hooks(corrupted.tokens, fwd_hooks=hooks)
        theirs = torch.stack([metric(logits) for metric in metrics]).float().cpu()
        ours = baseline if c is None else values[:, c]
        close = torch.isclose(ours, theirs, rtol=0, atol=0, equal_nan=True)
        close |= (ours - theirs).abs() <= plain.TOLERANCE.get(lm.dtype, 1e-4) * theirs.abs().clamp(min=1)
        if not bool(close.all()):
            worst = (~close).flatten().int().argmax()
            cell = "unpatched" if c is None else f"at {kind.named(cells[c])}"
            raise Mismatch(
                f"A replay must agree with TransformerLens. On {lm.name}, {kind.activation} {cell}, it gives "
                f"{ours.flatten()[worst]:.6g} and bridge.run_with_hooks {theirs.flatten()[worst]:.6g}. Use "
                "transformer_lens.patching for this model."
            )
    corrupted.owner.proven.add(key)
