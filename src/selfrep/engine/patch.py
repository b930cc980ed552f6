"""Exact activation patching: pairs × plan × metric → the effects Dataset.

Every call proves itself before it sweeps: patching nothing must leave the target as it was, patching the whole last residual
stream must give the source's answer, patching a prompt with itself must change nothing, and a few cells are computed again by
plain hooked forward passes of the untouched model.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from selfrep.engine import plain
from selfrep.engine.effects import Baselines, effects_dataset, provenance
from selfrep.engine.metrics import Metric, answer_log_odds, answer_mass, reader
from selfrep.engine.plan import Cell, PatchPlan
from selfrep.engine.replay import Entry, Recording, record, walk, written
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import AlignedBatch, PromptPair, align

Progress = Callable[[int, int], None]
"""Called with (done, total) patched runs as work goes on."""


def patch(
    lm: LanguageModel,
    pairs: Sequence[PromptPair],
    plan: PatchPlan,
    metric: Metric = answer_log_odds,
    *,
    batch_size: int = 8,
    seed: int = 0,
    check: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Patch each source into its target, cell by cell of the plan.

    Args:
        pairs: from `pair`; prompts may differ in length.
        plan: from `grid`.
        metric: what each run is asked for.
        batch_size: pairs replayed together.
        seed: of the random directions of "random" control pairs.
        check: prove the replay on the first batch (see above) before the sweep.

    Returns:
        The effects Dataset (see `effects_dataset`), dims pair, layer, position | segment.

    Raises:
        SelfrepError: a layer or position out of range, a replay that does not agree with the plain model.
    """
    whole = align(pairs)
    plan = plan.bound(lm.n_layers, int(whole.suffix.max()))
    return _patch(lm, whole, lambda part: align(pairs[part]), plan, metric, batch_size, seed, check, progress)


def template(
    lm: LanguageModel, pairs: Sequence[PromptPair], plan: PatchPlan, metric: Metric = answer_log_odds, *, seed: int = 0
) -> xr.Dataset:
    """The Dataset that `patch` will return, its numbers still NaN: to make room for results before they are there."""
    whole = align(pairs)
    plan = plan.bound(lm.n_layers, int(whole.suffix.max()))
    blank = np.full((len(pairs), len(plan.layers or ()), len(plan.where or ())), np.nan)
    return effects_dataset(whole, plan, blank, Baselines(*[blank[:, 0, 0]] * 5), provenance(lm, plan, metric.name, seed))


def patch_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: PatchPlan,
    metric: Metric,
    *,
    batch_size: int = 8,
    seed: int = 0,
    check: bool = True,
    progress: Progress | None = None,
) -> xr.Dataset:
    """The same engine for those who bring token ids; needs no tokenizer.

    Args:
        source, target: [pair, token] ids, right-aligned, −1 on the left of shorter prompts; one pair a row.

    Returns, raises: as `patch`. Positions may be any that both prompts of some pair have.
    """
    rows = [np.asarray(torch.as_tensor(ids).cpu(), dtype=np.int64) for ids in (source, target)]
    if any(ids.ndim != 2 or ids.size == 0 for ids in rows) or len(rows[0]) != len(rows[1]):
        raise SelfrepError(f"Source and target are [pair, token], one pair a row; got shapes {[ids.shape for ids in rows]}.")
    vocabulary = lm.hf.get_input_embeddings().weight.shape[0]
    ragged = any((ids[:, -1] < 0).any() or ((ids[:, :-1] >= 0) & (ids[:, 1:] < 0)).any() for ids in rows)
    if ragged or any(ids.max() >= vocabulary for ids in rows):
        raise SelfrepError(f"Token ids are 0 … {vocabulary - 1}, right-aligned with −1 on the left; got others.")
    whole = _bare(*rows)
    plan = plan.bound(lm.n_layers, int(whole.suffix.max()))
    if plan.by == "segment":
        raise SelfrepError("Token ids have no segments: give grid(...) positions.")

    def part(rows_of: slice) -> AlignedBatch:
        return _bare(rows[0][rows_of], rows[1][rows_of])

    return _patch(lm, whole, part, plan, metric, batch_size, seed, check, progress)


def _bare(source: np.ndarray, target: np.ndarray) -> AlignedBatch:
    """A batch without texts or answers, in which every position that both prompts have is shared."""
    suffix = np.minimum((source >= 0).sum(1), (target >= 0).sum(1))
    width = int(suffix.max())
    own = target[:, -width:]
    there = np.arange(-width, 0) >= -suffix[:, None]
    return AlignedBatch(
        source_ids=source,
        target_ids=target,
        suffix=suffix,
        tokens=np.where(there, own.astype(str), ""),
        segments=np.where(there, "prompt", ""),
        answer_ids=np.empty((0, 2, 0), dtype=np.int64),
        items=(),
        item_index=np.zeros(len(target), dtype=np.int64),
        pairs=(),
    )


def _patch(
    lm: LanguageModel,
    whole: AlignedBatch,
    part: Callable[[slice], AlignedBatch],
    plan: PatchPlan,
    metric: Metric,
    batch_size: int,
    seed: int,
    check: bool,
    progress: Progress | None,
) -> xr.Dataset:
    n = len(whole.target_ids)
    answers = metric.answers(whole)
    if not whole.items:  # token ids: what the metric reads is kept as items, so that any cell can be computed again
        kinds, index = np.unique(answers, axis=0, return_inverse=True)
        names = tuple(f"answers{i}" for i in range(len(kinds)))
        whole = replace(whole, answer_ids=kinds, items=names, item_index=index.reshape(-1))
    parts: list[tuple[np.ndarray, Baselines]] = []
    proof: dict[str, float] = {}
    for at in range(0, n, batch_size):
        rows = slice(at, at + batch_size)
        sweep = _Sweep.of(lm, part(rows), plan, answers[rows], seed)
        if check and at == 0:
            proof = prove(lm, sweep)
        report = None if progress is None else lambda k, a=at: progress(a * len(plan.cells) + k, n * len(plan.cells))
        parts.append((sweep.run(lm, report), sweep.baselines))
    shape = (n, len(plan.layers or ()), len(plan.where or ()))
    patched = np.concatenate([values for values, _ in parts]).reshape(shape)
    merged = Baselines(*(np.concatenate([getattr(b, f) for _, b in parts]) for f in Baselines.__dataclass_fields__))
    attrs = provenance(lm, plan, metric.name, seed) | {"proof": json.dumps(proof)}
    return effects_dataset(whole, plan, patched, merged, attrs)


@dataclass(frozen=True)
class _Sweep:
    """A batch of pairs, recorded and ready to be patched."""

    batch: AlignedBatch
    plan: PatchPlan
    answers: np.ndarray
    source: Recording
    target: Recording
    read: Callable[[Tensor], Tensor]
    baselines: Baselines
    seed: int

    @classmethod
    def of(cls, lm: LanguageModel, batch: AlignedBatch, plan: PatchPlan, answers: np.ndarray, seed: int) -> _Sweep:
        sites = () if plan.site in ("resid_pre", "resid_post") else (plan.site,)
        reach = -min((w for w in plan.where or () if isinstance(w, int)), default=-int(batch.suffix.max()))
        source, target = (
            _record(lm, ids, min(reach, int(batch.suffix.max())), sites) for ids in (batch.source_ids, batch.target_ids)
        )
        read = reader(lm, answers)
        ends = [recording.residuals[-1][:, -1] for recording in (source, target)]
        metrics = [read(end[None])[0].cpu().numpy() for end in ends]
        masses = [answer_mass(lm, end, answers).cpu().numpy() for end in ends]
        scale = metrics[0].copy()
        referred = [i for i, pair in enumerate(batch.pairs) if pair.reference is not None]
        if referred:
            references = align([replace(batch.pairs[i], source=batch.pairs[i].reference, control="") for i in referred])  # type: ignore[arg-type]
            end = _record(lm, references.source_ids, 1, ()).residuals[-1][:, -1]
            scale[referred] = reader(lm, answers[referred])(end[None])[0].cpu().numpy()
        baselines = Baselines(metrics[0], metrics[1], scale - metrics[1], masses[0], masses[1])
        return cls(batch, plan, answers, source, target, read, baselines, seed)

    @property
    def width(self) -> int:
        """How many tokens at the end were recorded."""
        return self.target.width - self.target.start

    def last(self, residual: Tensor) -> Tensor:
        """[entry, pair, token, d_model] after the last block → the metric [entry, pair]."""
        return self.read(residual[:, :, -1])

    def mask(self, cell: Cell) -> np.ndarray:
        """[pair, token] which of the recorded tokens a cell covers."""
        position = np.arange(-self.width, 0)
        there = position >= -self.batch.suffix[:, None]
        if isinstance(cell.where, int):
            return there & (position == cell.where)
        if cell.where == "all":
            return there
        if cell.where == "last":
            return there & (position == -1)
        return there & (self.batch.segments[:, -self.width :] == cell.where)

    def entering(self, lm: LanguageModel, layer: int, donor: Recording | None = None) -> tuple[int, Tensor]:
        """The block at which a patch of this layer joins, and the residual stream [pair, token, d_model] it brings."""
        donor = donor or self.source
        site = self.plan.site
        if site in ("resid_pre", "resid_post"):
            block = layer if site == "resid_pre" else layer + 1
            return block, self._disguised(donor.residuals[block], self.target.residuals[block], layer)
        values = self._disguised(donor.sites[site][layer], self.target.sites[site][layer], layer)
        leaving = written(lm, self.target, site, layer, values)
        if site == "resid_mid":  # what goes past the MLP is the stream as well
            leaving = leaving + (values - self.target.sites[site][layer])
        return layer + 1, leaving

    def run(self, lm: LanguageModel, progress: Callable[[int], None] | None) -> np.ndarray:
        """All cells: [pair, cell], NaN where a pair has no token in the cell."""
        cells, n = self.plan.cells, len(self.answers)
        out = np.full((n, len(cells)), np.nan)
        masks = {cell.where: self.mask(cell) for cell in cells}
        starts: dict[int, list[int]] = defaultdict(list)
        for i, cell in enumerate(cells):
            covered = np.flatnonzero(masks[cell.where].any(0))
            if len(covered):
                starts[int(covered[0])].append(i)
        joins = {layer: self.entering(lm, layer) for layer in self.plan.layers or ()}
        done = 0
        for first, members in sorted(starts.items()):
            entries = []
            for i in members:
                block, values = joins[cells[i].layer]
                mask = torch.as_tensor(masks[cells[i].where][:, first:], device=values.device)
                entries.append(Entry(block, mask, values[:, first:]))
            values = walk(lm, self.target, self.target.start + first, entries, self.last).cpu().numpy().T
            out[:, members] = np.where(np.stack([masks[cells[i].where].any(1) for i in members], 1), values, np.nan)
            done += n * len(members)
            if progress is not None:
                progress(done)
        return out

    def _disguised(self, source: Tensor, target: Tensor, layer: int) -> Tensor:
        """For "random" controls: the target, moved as far as the source would move it, in a random direction."""
        random = [i for i, pair in enumerate(self.batch.pairs) if pair.control == "random"]
        if not random:
            return source
        out = source.clone()
        for i in random:
            pair = self.batch.pairs[i]
            name = f"{self.seed}/{self.plan.site}/{layer}/{pair.item}/{pair.source_name}/{pair.source_paraphrase}/{pair.target_name}"
            drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(source.shape[1:])
            noise = torch.from_numpy(drawn[::-1].copy()).to(source)  # drawn from the last token back: the same in any batch
            distance = (source[i] - target[i]).norm(dim=-1, keepdim=True)
            out[i] = target[i] + noise / noise.norm(dim=-1, keepdim=True) * distance
        return out


def _record(lm: LanguageModel, ids: np.ndarray, keep: int, sites: Sequence[str]) -> Recording:
    tokens = torch.as_tensor(ids, device=lm.device)
    return record(lm, tokens.clamp(min=0), tokens >= 0, start=ids.shape[1] - keep, sites=sites)


def prove(lm: LanguageModel, sweep: _Sweep) -> dict[str, float]:
    """Run the laws of patching on a sweep's own prompts; see the head of this file.

    Returns:
        How far each law was missed, in nats.

    Raises:
        SelfrepError: naming the law or the cell that fails, and both numbers.
    """
    target, source, width = sweep.target, sweep.source, sweep.width
    device = target.residuals[0].device
    shared = torch.as_tensor(sweep.mask(Cell(sweep.plan.site, 0, "all")), device=device)
    middle = (sweep.plan.layers or (0,))[len(sweep.plan.layers or (0,)) // 2]
    block, own = sweep.entering(lm, middle, donor=target) if not _random(sweep) else (0, target.residuals[0])
    laws = {
        "patching nothing leaves the target": Entry(0, torch.zeros_like(shared), target.residuals[0]),
        "patching a prompt with itself leaves the target": Entry(block, shared, own),
        "patching the whole last residual stream gives the source": Entry(lm.n_layers, shared, source.residuals[-1]),
    }
    got = walk(lm, target, target.start, list(laws.values()), sweep.last).cpu().numpy()
    wanted = [sweep.baselines.target, sweep.baselines.target, sweep.baselines.source]
    tolerance = plain.TOLERANCE[lm.dtype]
    missed: dict[str, float] = {}
    for law, values, expected in zip(laws, got, wanted, strict=True):
        missed[law] = worst = float(np.abs(values - expected).max())
        if not worst <= tolerance * max(1.0, float(np.abs(expected).max())):
            raise SelfrepError(f"A replay must obey: {law}. On {lm.name} it is off by {worst:.3g} nats at {sweep.plan.site}.")
    rng = np.random.default_rng(sweep.seed)
    agreement = "a replayed cell equals the plain forward pass"
    cells = sweep.plan.cells
    for i in rng.choice(len(cells), size=min(3, len(cells)), replace=False):
        pair = int(rng.integers(len(sweep.answers)))
        positions = (np.flatnonzero(sweep.mask(cells[i])[pair]) - width).tolist()
        if not positions or (sweep.batch.pairs and sweep.batch.pairs[pair].control == "random"):
            continue
        alone = replace(sweep, plan=replace(sweep.plan, layers=(cells[i].layer,), where=(cells[i].where,)))  # type: ignore[arg-type]
        replayed = float(alone.run(lm, None)[pair, 0])
        slow = plain.cell(
            lm, sweep.batch.source_ids[pair], sweep.batch.target_ids[pair], sweep.answers[pair], cells[i].site, cells[i].layer, positions
        )
        missed[agreement] = max(missed.get(agreement, 0.0), abs(replayed - slow))
        if not abs(replayed - slow) <= tolerance * max(1.0, abs(slow)):
            raise SelfrepError(
                f"The replay must agree with a plain forward pass. On {lm.name} at {cells[i].site}, layer {cells[i].layer}, "
                f"{_place(cells[i])} it gives {replayed:.6g} and the plain pass {slow:.6g}."
            )
    return missed


def _place(cell: Cell) -> str:
    return f"position {cell.where}" if isinstance(cell.where, int) else f"segment {cell.where!r}"


def _random(sweep: _Sweep) -> bool:
    return any(pair.control == "random" for pair in sweep.batch.pairs)
