"""The effects Dataset: what every patching run returns, and all that is needed to compute any of its cells again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import import_module
from importlib.metadata import version

import numpy as np
import xarray as xr

from selfrep.engine.plan import PatchPlan
from selfrep.engine.sweep import PatchSweep
from selfrep.models.language_model import LanguageModel
from selfrep.stats.rounding import negligible, unresolved

OF_PAIRS = (
    "source_name", "target_name", "source_family", "target_family", "direction", "control", "source_paraphrase",
    "target_paraphrase",
)  # fmt: skip
"""What is said of each pair, as fields of `PromptPair`."""


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
    def merged(cls, parts: Sequence[Baselines], order: np.ndarray | slice = slice(None)) -> Baselines:
        """Those of several batches, one after another; then in this order."""

        def concat(name: str) -> np.ndarray | None:
            arrays = [getattr(part, name) for part in parts]
            return None if arrays[0] is None else np.concatenate(arrays)[order]

        return cls(*(concat(field.name) for field in fields(cls)))  # type: ignore[arg-type]


def effects_dataset(
    lm: LanguageModel,
    sweep: PatchSweep,
    plan: PatchPlan,
    values: Mapping[str, np.ndarray],
    baselines: Baselines,
    attrs: Mapping[str, object],
) -> xr.Dataset:
    """Label the results of one plan of a sweep.

    Args:
        values: "patched", the metrics of each patched run, and whatever else there is: each [pair, *plan.shape,
            metric], NaN where a pair has no such position.
        attrs: further attributes, beside those that say where numbers came from.

    Returns:
        Dataset over (pair, layer, position | segment), and head or neuron where they are swept. `transfer` =
        (patched − target) / (source − target): 0, the patch did nothing; 1, it restored the source's behaviour
        (TransformerLens's direction). For control pairs the denominator, kept in `total_effect`, is that of the real
        pair. Where it is smaller than a model of this precision resolves (see `selfrep.stats.rounding`), NaN.
    """
    batch = sweep.batch
    cell, last = ("pair", *plan.axes), (("metric",) if sweep.metric_axis else ())

    def labelled(dims: tuple[str, ...], numbers: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        return (*dims, *last), (numbers if last else numbers[..., 0]).astype(np.float32)

    wide = (slice(None), *[None] * len(plan.axes), slice(None))
    effect = values["patched"] - baselines.target[wide]
    size = np.maximum(np.abs(baselines.source), np.abs(baselines.target))
    of_logits = np.array([answers is not None for answers in sweep.answers])
    too_small = unresolved(baselines.total, size, str(lm.dtype).removeprefix("torch."))
    nothing = negligible(baselines.total, size) | (of_logits & too_small)
    transfer = effect / np.where(nothing, np.nan, baselines.total)[wide]
    coords: dict[str, object] = {axis: list(labels) for axis, labels in plan.axes.items()}
    if sweep.metric_axis:
        coords["metric"] = [metric.name for metric in sweep.metrics]
    coords["item"] = ("pair", np.array(batch.items or ("",), dtype=str)[batch.item_index])
    for name in OF_PAIRS if batch.pairs else ():
        coords[name.removesuffix("_name")] = ("pair", np.array([getattr(pair, name) for pair in batch.pairs]))
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
        **{name: labelled(cell, numbers) for name, numbers in {**values, "transfer": transfer}.items()},
        "source_metric": labelled(("pair",), baselines.source),
        "target_metric": labelled(("pair",), baselines.target),
        "total_effect": labelled(("pair",), baselines.total),
        "source_ids": (("pair", "source_token"), batch.source_ids),
        "target_ids": (("pair", "target_token"), batch.target_ids),
    }
    for name, mass in (("source", baselines.source_mass), ("target", baselines.target_mass)):
        if mass is not None:
            data[f"answer_mass_{name}"] = ("pair", mass.astype(np.float32))
    if batch.items:
        coords |= {"item_name": list(batch.items), "side": ["first", "second"]}
        data["answer_ids"] = (("item_name", "side", "k"), batch.answer_ids)
    return xr.Dataset(data, coords=coords, attrs=_provenance(lm, sweep, plan) | dict(attrs))


def _provenance(lm: LanguageModel, sweep: PatchSweep, plan: PatchPlan) -> dict[str, object]:
    """The attributes that say where numbers came from."""
    other = sweep.source_lm
    return {
        "site": plan.site,
        "intervention": plan.intervention.name,
        **({} if plan.window is None else {"window": str(plan.window)}),
        **({} if not plan.sets else {"sets": json.dumps(dict(plan.sets))}),
        "metric": ", ".join(metric.name for metric in sweep.metrics),
        "model": lm.name,
        "weights_hash": lm.weights_hash,
        **({} if other is None else {"source_model": other.name, "source_weights_hash": other.weights_hash}),
        "dtype": str(lm.dtype).removeprefix("torch."),
        "device": str(lm.device),
        "versions": _versions(),
        "seed": sweep.seed,
    }


@cache
def _versions() -> str:
    """Those of the packages that numbers depend on, as JSON; looking one up takes milliseconds."""
    own = import_module("selfrep").__version__  # by name, since a static import would tie this room to all the others
    packages = ("torch", "transformers", "transformer-lens", "xarray")
    return json.dumps({"selfrep": own} | {name: version(name) for name in packages})
