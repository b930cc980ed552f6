"""The effects Dataset: what every patching run returns, and all that is needed to compute any of its cells again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

import numpy as np
import xarray as xr

from selfrep.engine.plan import PatchPlan
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import AlignedBatch


@dataclass(frozen=True)
class Baselines:
    """What the unpatched runs of each pair say, all [pair]: the metric, and the probability of any answer."""

    source: np.ndarray
    target: np.ndarray
    total: np.ndarray
    source_mass: np.ndarray
    target_mass: np.ndarray


def effects_dataset(
    batch: AlignedBatch, plan: PatchPlan, patched: np.ndarray, baselines: Baselines, attrs: Mapping[str, object]
) -> xr.Dataset:
    """Label the results of a sweep.

    Args:
        plan: bound.
        patched: [pair, layer, position | segment] the metric of each patched run; NaN where a pair has no such
            position.

    Returns:
        Dataset over (pair, layer, position | segment). `transfer` = (patched − target) / (source − target): 0, the
        patch did nothing; 1, it restored the source's behaviour (TransformerLens's direction). For control pairs the
        denominator, kept in `total_effect`, is that of the real pair.
    """
    cell = ("pair", "layer", plan.by)
    moved = patched - baselines.target[:, None, None]
    scale = np.where(baselines.total == 0, np.nan, baselines.total)[:, None, None]
    names = ("source_name", "target_name", "direction", "control", "source_paraphrase", "target_paraphrase")
    coords: dict[str, object] = {
        "layer": list(plan.layers or ()),
        plan.by: list(plan.where or ()),
        "item_name": list(batch.items),
        "side": ["first", "second"],
        "item": ("pair", np.array(batch.items)[batch.item_index]),
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
    return xr.Dataset(
        {
            "patched": (cell, patched.astype(np.float32)),
            "transfer": (cell, (moved / scale).astype(np.float32)),
            "source_metric": ("pair", baselines.source.astype(np.float32)),
            "target_metric": ("pair", baselines.target.astype(np.float32)),
            "total_effect": ("pair", baselines.total.astype(np.float32)),
            "answer_mass_source": ("pair", baselines.source_mass.astype(np.float32)),
            "answer_mass_target": ("pair", baselines.target_mass.astype(np.float32)),
            "source_ids": (("pair", "source_token"), batch.source_ids),
            "target_ids": (("pair", "target_token"), batch.target_ids),
            "answer_ids": (("item_name", "side", "k"), batch.answer_ids),
        },
        coords=coords,
        attrs=dict(attrs),
    )


def provenance(lm: LanguageModel, plan: PatchPlan, metric: str, seed: int) -> dict[str, object]:
    """The attributes that say where numbers came from."""
    packages = ("torch", "transformers", "transformer-lens", "xarray")
    own = import_module("selfrep").__version__  # by name, since a static import would tie this room to all the others
    return {
        "site": plan.site,
        "metric": metric,
        "model": lm.name,
        "weights_hash": lm.weights_hash,
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": str(lm.device),
        "versions": json.dumps({"selfrep": own} | {name: version(name) for name in packages}),
        "seed": seed,
    }
