"""A batch of pairs, recorded and ready to be patched at any cell of a plan."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.effects import Baselines
from selfrep.engine.metrics import answer_mass, reader
from selfrep.engine.plan import Cell, PatchPlan
from selfrep.engine.replay import Entry, Recording, record, walk, written
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import AlignedBatch, align


@dataclass(frozen=True)
class Sweep:
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
    def of(cls, lm: LanguageModel, batch: AlignedBatch, plan: PatchPlan, answers: np.ndarray, seed: int) -> Sweep:
        """Record sources and targets, and read their own answers."""
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
            real = [replace(pair, source=pair.reference) for pair in batch.pairs if pair.reference is not None]
            references = align(real)
            end = _record(lm, references.source_ids, 1, ()).residuals[-1][:, -1]
            scale[referred] = reader(lm, answers[referred])(end[None])[0].cpu().numpy()
        baselines = Baselines(metrics[0], metrics[1], scale - metrics[1], masses[0], masses[1])
        return cls(batch, plan, answers, source, target, read, baselines, seed)

    @property
    def width(self) -> int:
        """How many tokens at the end were recorded."""
        return self.target.width - self.target.start

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
            metric = walk(lm, self.target, self.target.start + first, entries, self.read).cpu().numpy().T
            there = np.stack([masks[cells[i].where].any(1) for i in members], axis=1)
            out[:, members] = np.where(there, metric, np.nan)
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
            place = (self.seed, self.plan.site, layer, pair.item)
            name = "/".join(map(str, (*place, pair.source_name, pair.source_paraphrase, pair.target_name)))
            drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(source.shape[1:])
            noise = torch.from_numpy(drawn[::-1].copy()).to(source)  # from the last token back: the same in any batch
            distance = (source[i] - target[i]).norm(dim=-1, keepdim=True)
            out[i] = target[i] + noise / noise.norm(dim=-1, keepdim=True) * distance
        return out


def _record(lm: LanguageModel, ids: np.ndarray, keep: int, sites: Sequence[str]) -> Recording:
    tokens = torch.as_tensor(ids, device=lm.device)
    return record(lm, tokens.clamp(min=0), tokens >= 0, start=ids.shape[1] - keep, sites=sites)
