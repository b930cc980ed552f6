"""The unpatched runs of a sweep: its prompts, recorded once, and what they answer by themselves.

All that is done to a sweep by replay starts from here: patched runs (`cells`), self-checks, and gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.effects import Baselines
from selfrep.engine.metrics import Reading, Run, answer_mass, compile_metric
from selfrep.engine.plan import PREFIX, STREAM
from selfrep.engine.replay.matmul import quick_products
from selfrep.engine.replay.recording import Recording, record
from selfrep.engine.sweep import PatchSweep
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import right_aligned


@dataclass(frozen=True)
class SweepRecording:
    """The unpatched runs of a sweep, ready to be patched.

    Attributes:
        donor: the runs whose activations are written; target: the runs they are written into.
        readings: the metrics, compiled for the batch.
    """

    lm: LanguageModel
    sweep: PatchSweep
    donor: Recording
    target: Recording
    readings: tuple[Reading, ...]
    baselines: Baselines

    @property
    def reads(self) -> int:
        """How many tokens at the end are read."""
        return max(-p for reading in self.readings for p in reading.positions)


def record_sweep(lm: LanguageModel, sweep: PatchSweep) -> SweepRecording:
    """Run the prompts of a sweep once, and read their own answers.

    Raises:
        CannotReplay: an architecture whose blocks cannot be replayed.
        SelfrepError: a prefix patch between prompts of different lengths.
    """
    batch = sweep.batch
    sites = sorted({plan.site for plan in sweep.plans} - {*STREAM, PREFIX})
    prefix = any(plan.site == PREFIX for plan in sweep.plans)
    other = sweep.source_lm or lm
    target = record_ids(lm, batch.target_ids, sweep.width, sites)
    donor = record_ids(other, sweep.donor_ids, sweep.width, sites, keys_values=prefix)
    source = (
        donor if sweep.donor_ids is batch.source_ids else record_ids(other, batch.source_ids, 1, (), keys_values=False)
    )
    finals = {"source": (other, source.final), "target": (lm, target.final)}

    def reference(run: Run, positions: Sequence[int]) -> Tensor:
        model, final = finals[run]
        return model.logits(_at(final, positions)).to(lm.device)

    readings = tuple(
        compile_metric(metric, batch, answers, reference, lm.device)
        for metric, answers in zip(sweep.metrics, sweep.answers, strict=True)
    )
    values = {
        run: read_metrics(model, readings, final[None])[0].cpu().numpy() for run, (model, final) in finals.items()
    }
    scale = values["source"].copy()
    references = {i: pair.reference.ids for i, pair in enumerate(batch.pairs) if pair.reference is not None}
    if references:
        ids = right_aligned(list(references.values()), -1, np.int64)
        final = record_ids(other, ids, 1, (), keys_values=False).final
        wide = min(final.shape[1], source.final.shape[1])
        ends = source.final[:, -wide:].clone()
        ends[list(references)] = final[:, -wide:]
        scale[list(references)] = read_metrics(other, readings, ends[None])[0].cpu().numpy()[list(references)]
    masses: list[np.ndarray | None] = [None, None]
    if sweep.answer_sets is not None:
        masses = [
            answer_mass(model, model.logits(final[:, -1]), sweep.answer_sets).cpu().numpy()
            for model, final in finals.values()
        ]
    baselines = Baselines(values["source"], values["target"], scale - values["target"], *masses)
    return SweepRecording(lm, sweep, donor, target, readings, baselines)


MOST_LOGITS = 2**26
"""How many logits are held at once: 256 MB of float32."""


def read_metrics(lm: LanguageModel, readings: Sequence[Reading], ends: Tensor) -> Tensor:
    """[entry, pair, token, d_model], the last tokens → [entry, pair, metric], on the same device."""
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
    return torch.cat(out, dim=-1).float()


def _at(x: Tensor, positions: Sequence[int]) -> Tensor:
    """[..., token, feature] → [..., position, feature]; a list would be an index that is copied to the device first."""
    return torch.stack([x[..., p, :] for p in positions], dim=-2)


def record_ids(
    lm: LanguageModel, ids: np.ndarray, keep: int, sites: Sequence[str], *, keys_values: bool = True
) -> Recording:
    """Record prompts [row, token], −1 padded on the left; streams and sites are kept at the last `keep` tokens."""
    if (lacking := keep - ids.shape[1]) > 0:  # a resampled donor may be shorter than what is patched elsewhere
        ids = np.pad(ids, ((0, 0), (lacking, 0)), constant_values=-1)
    tokens = torch.as_tensor(ids, device=lm.device)
    start = ids.shape[1] - keep
    return record(lm, tokens.clamp(min=0), tokens >= 0, start=start, sites=sites, keys_values=keys_values)
