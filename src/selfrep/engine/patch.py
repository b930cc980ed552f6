"""Exact activation patching: pairs × plan × metric → the effects Dataset.

A sweep checks itself the first time a model is asked for one of its kind (see `selfrep.engine.selfcheck`). A model
whose blocks cannot be replayed is patched by whole forward passes, which is exact too, and slow; a warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import xarray as xr

from selfrep.engine import reference
from selfrep.engine.across import across
from selfrep.engine.effects import Baselines, effects_dataset
from selfrep.engine.metrics import Metrics, answer_log_odds
from selfrep.engine.misses import Misses, to_attrs, worst
from selfrep.engine.plan import AnyPlan, OnePlan, PlanUnion
from selfrep.engine.progress import Progress
from selfrep.engine.replay.baselines import record_sweep
from selfrep.engine.replay.cells import run_cells
from selfrep.engine.replay.runner import OnMismatch, Options, Values, by_plan, run_sweep
from selfrep.engine.selfcheck import selfcheck
from selfrep.engine.sweep import Pairs, PatchSweep, bind, bind_tokens
from selfrep.errors import CannotReplay
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments


class SweepOptions(TypedDict, total=False):
    """The options that `patch` and its siblings share; what they mean is said there."""

    batch_size: int | None
    budget_gb: float | None
    seed: int
    check: bool
    progress: Progress


class PatchOptions(SweepOptions, total=False):
    """Those of `patch` and `attribute`, which can go on without the replay."""

    on_mismatch: OnMismatch


class ExactOptions(PatchOptions, total=False):
    """Those of `patch`, whose sources may run in another model."""

    source_lm: LanguageModel | None


class PatchTokensOptions(ExactOptions, total=False):
    """Those of `patch_tokens`."""

    suffix: int | None


@overload
def patch(
    lm: LanguageModel, pairs: Pairs, plan: OnePlan, metric: Metrics = answer_log_odds, **how: Unpack[ExactOptions]
) -> xr.Dataset: ...


@overload
def patch(
    lm: LanguageModel, pairs: Pairs, plan: PlanUnion, metric: Metrics = answer_log_odds, **how: Unpack[ExactOptions]
) -> xr.DataTree: ...


def patch(
    lm: LanguageModel,
    pairs: Pairs,
    plan: AnyPlan,
    metric: Metrics = answer_log_odds,
    *,
    source_lm: LanguageModel | None = None,
    batch_size: int | None = None,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    on_mismatch: OnMismatch = "raise",
    progress: Progress = None,
) -> xr.Dataset | xr.DataTree:
    """Patch each source into its target, cell by cell of the plan.

    Args:
        lm: the model.
        pairs: from `pair`, one or several; prompts may differ in length.
        plan: from `grid` or `prefix_patch`, or several of them joined by `|`; "resid_pre" means grid("resid_pre").
        metric: what is read of each run; a list of metrics costs one sweep. A plain function works too: from the logits
            of the last token, [row, 1, vocabulary], to a number for each row.
        source_lm: the model in which the sources run, where it is another of the same shape: base against tuned, one
            checkpoint against another. Both read the token ids that `lm`'s chat template makes.
        batch_size: pairs replayed together; by default as many as the budget allows. Where they do not fit the memory,
            half as many go on, in this sweep and in later ones of the model.
        budget_gb: what a sweep may take beside the model; 1 GB on a CPU, half of what is free on an accelerator.
        seed: of the random directions of "random" control pairs, and of resampling.
        check: let the replay check itself before the first sweep of its kind.
        on_mismatch: what to do where the replay does not agree with plain forward passes: "raise", or "slow" to go on
            with plain passes and a warning.
        progress: True for a bar, or a function that is called with (done, total) patched runs.

    Returns:
        The effects Dataset (see `effects_dataset`), dims pair, layer, position | segment, and head or neuron where
        they are swept; with a list of metrics also `metric`. For several plans a DataTree of such Datasets, one for
        each, under `PlanUnion.names`. `attrs["engine"]` says whether runs were replayed ("replay") or run in full
        ("reference"), `attrs["selfcheck"]` by how much the laws of the self-check were missed.

    Raises:
        SelfrepError: a layer, position or head out of range, a replay that does not agree with the plain model, a
            prefix patch between prompts of different lengths, a source model of another shape or tokenizer.

    Example:
        The persona of this organism reaches the end of the system text (−10) in layer 2, the last token in layer 3:

        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> pairs = sr.pair(lm, people["robot"], people["nurse"], battery["who_are_you"], paraphrases=0)
        >>> effects = sr.patch(lm, pairs, sr.grid("resid_pre", layers=[2, 3], positions=[-10, -1]))
        >>> abs(effects.transfer.sel(pair=0)).values.round(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    options = Options(batch_size, budget_gb, check, on_mismatch, progress)
    arguments.one(lm, LanguageModel, "model")
    sweep = across(lm, bind(lm, pairs, plan, metric, seed=seed), source_lm)
    return by_plan(plan, run_sweep(lm, sweep, _Exact(lm, options), options))


@overload
def patch_tokens(
    lm: LanguageModel, source: Any, target: Any, plan: OnePlan, metric: Metrics, **how: Unpack[PatchTokensOptions]
) -> xr.Dataset: ...


@overload
def patch_tokens(
    lm: LanguageModel, source: Any, target: Any, plan: PlanUnion, metric: Metrics, **how: Unpack[PatchTokensOptions]
) -> xr.DataTree: ...


def patch_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: AnyPlan,
    metric: Metrics,
    *,
    suffix: int | None = None,
    source_lm: LanguageModel | None = None,
    batch_size: int | None = None,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    on_mismatch: OnMismatch = "raise",
    progress: Progress = None,
) -> xr.Dataset | xr.DataTree:
    """`patch` for those who bring token ids; needs no tokenizer.

    Args:
        source, target: [pair, token] ids, right-aligned, −1 on the left of shorter prompts; one pair a row.
        suffix: how many tokens at the end may be patched, and read the prefix in a prefix patch; by default all that
            both prompts of a pair have.
        metric, source_lm, batch_size, budget_gb, seed, check, on_mismatch, progress: as in `patch`.

    Returns:
        As `patch`, without the coordinates that only prompts have.

    Raises:
        SelfrepError: as `patch`; ids that are not [pair, token], right-aligned, and in the vocabulary.

    Example:
        >>> import selfrep as sr, torch
        >>> lm = sr.load_model("organism:separate")
        >>> source, target = torch.tensor([[1, 5, 9]]), torch.tensor([[1, 6, 9]])
        >>> effects = sr.patch_tokens(lm, source, target, sr.grid("resid_pre"), sr.logit_difference(5, 6))
        >>> effects.sizes["layer"], effects.sizes["position"], effects.token.values.tolist()
        (6, 3, [['1', '6', '9']])
    """
    options = Options(batch_size, budget_gb, check, on_mismatch, progress)
    arguments.one(lm, LanguageModel, "model")
    sweep = across(lm, bind_tokens(lm, source, target, plan, metric, suffix=suffix, seed=seed), source_lm)
    return by_plan(plan, run_sweep(lm, sweep, _Exact(lm, options), options))


def patch_sweep(
    lm: LanguageModel,
    sweep: PatchSweep,
    *,
    batch_size: int | None = None,
    budget_gb: float | None = None,
    check: bool = True,
    on_mismatch: OnMismatch = "raise",
    progress: Progress = None,
) -> list[xr.Dataset]:
    """`patch` for a sweep that is bound, or some of its rows: one Dataset a plan. Options are those of `patch`."""
    options = Options(batch_size, budget_gb, check, on_mismatch, progress)
    return run_sweep(lm, sweep, _Exact(lm, options), options)


def blank_effects(lm: LanguageModel, sweep: PatchSweep) -> list[xr.Dataset]:
    """What `patch_sweep` will return, its numbers still NaN: to make room for results before they are there."""
    baselines = Baselines.empty(len(sweep), len(sweep.metrics), sweep.answer_sets is not None)
    out = []
    for plan in sweep.plans:
        blank = np.full((len(sweep), *plan.shape, len(sweep.metrics)), np.nan)
        out.append(effects_dataset(lm, sweep, plan, {"patched": blank}, baselines, {}))
    return out


@dataclass
class _Exact:
    """Runs sweeps by replay, checked first; or, from the first that cannot be on, by whole forward passes."""

    lm: LanguageModel
    options: Options
    engine: str = "replay"
    misses: Misses = field(default_factory=dict)

    def row_bytes(self, sweep: PatchSweep) -> float:
        return 0.0

    def attrs(self) -> dict[str, object]:
        return {**to_attrs(self.misses), "engine": self.engine}

    def __call__(self, sweep: PatchSweep, budget: float, progress: Callable[[int], None]) -> tuple[Values, Baselines]:
        if self.engine == "replay":
            try:
                recording = record_sweep(self.lm, sweep)
                self.misses = worst(self.misses, selfcheck(recording) if self.options.check else {})
                return {"patched": run_cells(recording, budget=budget, progress=progress)}, recording.baselines
            except CannotReplay as reason:
                warnings.warn(f"{reason} Each cell takes a whole forward pass: this is slow.", stacklevel=6)
            except reference.Mismatch as reason:
                if self.options.on_mismatch == "raise":
                    raise
                warnings.warn(f"{reason} Going on with whole forward passes: this is slow.", stacklevel=6)
            self.engine = "reference"
        values, baselines = reference.run_sweep(self.lm, sweep, progress)
        return {"patched": values}, baselines
