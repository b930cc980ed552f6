"""The effects Dataset: what every patching run returns, and all that is needed to compute any of its cells again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from importlib.metadata import version

import numpy as np
import xarray as xr

from selfrep.engine.plan import PatchPlan
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import AlignedBatch
from selfrep.stats.rounding import negligible


@dataclass(frozen=True)
class Baselines:
    """What the unpatched runs of each pair say: the metrics [pair, metric], and the probability of any answer [pair].

    `total` is source − target; for a control, that of the real pair.
    """

    source: np.ndarray
    target: np.ndarray
    total: np.ndarray
    source_mass: np.ndarray | None
    target_mass: np.ndarray | None

    @classmethod
    def empty(cls, pairs: int, metrics: int, has_answers: bool) -> Baselines:
        """All NaN, to be filled in."""
        values = [np.full((pairs, metrics), np.nan) for _ in range(3)]
        masses = [np.full(pairs, np.nan) if has_answers else None for _ in range(2)]
        return cls(*values, *masses)

    @classmethod
    def merged(cls, parts: Sequence[Baselines]) -> Baselines:
        """Those of several batches, one after another."""

        def concat(name: str) -> np.ndarray | None:
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays)

        return cls(*(concat(field.name) for field in fields(cls)))  # type: ignore[arg-type]

    def rows(self, order: np.ndarray) -> Baselines:
        """Those of some pairs, in that order."""
        arrays = (getattr(self, field.name) for field in fields(self))
        return Baselines(*(None if array is None else array[order] for array in arrays))  # type: ignore[arg-type]


def effects_dataset(
    batch: AlignedBatch,
    plan: PatchPlan,
    patched: np.ndarray,
    baselines: Baselines,
    attrs: Mapping[str, object],
    metrics: Sequence[str] | None = None,
    beside: Mapping[str, np.ndarray] | None = None,
) -> xr.Dataset:
    """Label the results of a sweep.

    Args:
        plan: bound.
        patched: [pair, *plan.shape, metric] the metrics of each patched run; NaN where a pair has no such position.
        metrics: names for a dimension `metric`; None when there is one metric, and no such dimension.
        beside: further numbers of the same shape, by name.

    Returns:
        Dataset over (pair, layer, position | segment), and head or neuron where they are swept. `transfer` =
        (patched − target) / (source − target): 0, the patch did nothing; 1, it restored the source's behaviour
        (TransformerLens's direction). For control pairs the denominator, kept in `total_effect`, is that of the real
        pair.
    """
    last = () if metrics is None else ("metric",)
    cell = ("pair", *plan.axes, *last)

    def of_pairs(values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        return ("pair", *last), (values[:, 0] if metrics is None else values).astype(np.float32)

    def of_cells(values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        return cell, (values[..., 0] if metrics is None else values).astype(np.float32)

    wide = (slice(None), *[None] * len(plan.axes), slice(None))
    effect = patched - baselines.target[wide]
    nothing = negligible(baselines.total, np.maximum(np.abs(baselines.source), np.abs(baselines.target)))
    transfer = effect / np.where(nothing, np.nan, baselines.total)[wide]
    ends = ("name", "family", "paraphrase")
    names = (*(f"{end}_{what}" for what in ends for end in ("source", "target")), "direction", "control")
    coords: dict[str, object] = {
        **{axis: list(labels) for axis, labels in plan.axes.items()},
        **({} if metrics is None else {"metric": list(metrics)}),
        "item": ("pair", np.array(batch.items or ("",), dtype=str)[batch.item_index]),
        **{
            n.removesuffix("_name"): ("pair", np.array([getattr(p, n) for p in batch.pairs]))
            for n in names
            if batch.pairs
        },
    }
    if plan.by == "position":
        width = batch.tokens.shape[1]
        columns = np.array([width + int(w) for w in plan.where or ()])
        texts = {}
        for name, table in (("token", batch.tokens), ("segment_of", batch.segments)):
            texts[name] = np.where(columns >= 0, table[:, columns.clip(min=0)], "")
            coords[name] = (("pair", "position"), texts[name])
        present = [set(column) - {""} for column in texts["segment_of"].T]
        coords["segment"] = ("position", np.array([next(iter(s)) if len(s) == 1 else "mixed" for s in present]))
    data: dict[str, object] = {
        "patched": of_cells(patched),
        "transfer": of_cells(transfer),
        **{name: of_cells(values) for name, values in (beside or {}).items()},
        "source_metric": of_pairs(baselines.source),
        "target_metric": of_pairs(baselines.target),
        "total_effect": of_pairs(baselines.total),
        "source_ids": (("pair", "source_token"), batch.source_ids),
        "target_ids": (("pair", "target_token"), batch.target_ids),
    }
    for name, mass in (("source", baselines.source_mass), ("target", baselines.target_mass)):
        if mass is not None:
            data[f"answer_mass_{name}"] = ("pair", mass.astype(np.float32))
    if batch.items:
        coords |= {"item_name": list(batch.items), "side": ["first", "second"]}
        data["answer_ids"] = (("item_name", "side", "k"), batch.answer_ids)
    return xr.Dataset(data, coords=coords, attrs=dict(attrs))


def provenance(lm: LanguageModel, plan: PatchPlan, metrics: Sequence[str], seed: int) -> dict[str, object]:
    """The attributes that say where numbers came from."""
    packages = ("torch", "transformers", "transformer-lens", "xarray")
    own = import_module("selfrep").__version__  # by name, since a static import would tie this room to all the others
    return {
        "site": plan.site,
        "intervention": plan.intervention.name,
        **({} if plan.window is None else {"window": str(plan.window)}),
        **({} if not plan.sets else {"sets": json.dumps(dict(plan.sets))}),
        "metric": ", ".join(metrics),
        "model": lm.name,
        "weights_hash": lm.weights_hash,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": str(lm.device),
        "versions": json.dumps({"selfrep": own} | {name: version(name) for name in packages}),
        "seed": seed,
    }
