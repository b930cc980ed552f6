"""Exact activation patching: pairs × plan × metric → the effects Dataset.

A kind of sweep proves itself the first time a model is asked for it (see `selfrep.engine.proof`). A model whose blocks
cannot be replayed is patched by whole forward passes, which is exact too, and slow; a warning says so.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from selfrep.engine import cost, fast, plain, unpatched
from selfrep.engine.batches import Options, Progress, sweep_pairs, token_batch
from selfrep.engine.effects import Baselines, effects_dataset, provenance
from selfrep.engine.metrics import Metric, answer_log_odds
from selfrep.engine.plan import PatchPlan, Plan, PlanUnion
from selfrep.engine.proof import Mismatch, prove
from selfrep.engine.sweep import Sweep
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import PromptPair, align

OnMismatch = Literal["raise", "slow"]


def patch(
    lm: LanguageModel,
    pairs: Sequence[PromptPair],
    plan: Plan,
    metric: Metric | Sequence[Metric] = answer_log_odds,
    *,
    batch_size: int | None = None,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    on_mismatch: OnMismatch = "raise",
    progress: Progress | None = None,
) -> Any:
    """Patch each source into its target, cell by cell of the plan.

    Args:
        pairs: from `pair`; prompts may differ in length.
        plan: from `grid` or `prefix_swap`, or several of them joined by `|`.
        metric: what each run is asked for; a list of metrics costs one sweep.
        batch_size: pairs replayed together; by default as many as the budget allows. Where they do not fit the memory,
            half as many go on, in this sweep and in later ones of the model.
        budget_gb: what a sweep may take beside the model; 1 GB on a CPU, half of what is free on an accelerator.
        seed: of the random directions of "random" control pairs, and of resampling.
        check: prove the replay (see above) before the first sweep of its kind.
        on_mismatch: what to do where the replay does not agree with plain passes: "raise", or "slow" to go on with
            plain passes and a warning.

    Returns:
        The effects Dataset (see `effects_dataset`), dims pair, layer, position | segment, and head or neuron where
        they are swept; with a list of metrics also `metric`. For several plans a DataTree of such Datasets, one for
        each, under `PlanUnion.names`. `attrs["engine"]` says whether runs were replayed ("replay") or run in full
        ("plain").

    Raises:
        SelfrepError: a layer, position or head out of range, a replay that does not agree with the plain model, a
            prefix swap between prompts of different lengths.
    """
    exact = _Exact(lm, check, on_mismatch)
    return sweep_pairs(lm, align(pairs), plan, metric, exact, Options(batch_size, budget_gb, seed, progress))


def template(
    lm: LanguageModel, pairs: Sequence[PromptPair], plan: PatchPlan, metric: Metric = answer_log_odds, *, seed: int = 0
) -> xr.Dataset:
    """The Dataset that `patch` will return, its numbers still NaN: to make room for results before they are there."""
    whole = align(pairs)
    (plan,) = cost.bound(lm, PlanUnion((plan,)), whole).plans
    blank = np.full((len(pairs), *plan.shape, 1), np.nan)
    baselines = Baselines.empty(len(pairs), 1, metric.answers is not None)
    return effects_dataset(whole, plan, blank, baselines, provenance(lm, plan, [metric.name], seed))


def patch_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: Plan,
    metric: Metric | Sequence[Metric],
    *,
    suffix: int | None = None,
    batch_size: int | None = None,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    on_mismatch: OnMismatch = "raise",
    progress: Progress | None = None,
) -> Any:
    """The same engine for those who bring token ids; needs no tokenizer.

    Args:
        source, target: [pair, token] ids, right-aligned, −1 on the left of shorter prompts; one pair a row.
        suffix: how many tokens at the end may be patched, and read the prefix in a prefix swap; by default all that
            both prompts of a pair have.

    Returns, raises: as `patch`.
    """
    exact = _Exact(lm, check, on_mismatch)
    whole = token_batch(lm, source, target, suffix, plan)
    return sweep_pairs(lm, whole, plan, metric, exact, Options(batch_size, budget_gb, seed, progress))


class _Exact:
    """Runs sweeps by replay, proven first; or, from the first that cannot be on, by whole forward passes."""

    def __init__(self, lm: LanguageModel, check: bool, on_mismatch: OnMismatch) -> None:
        if on_mismatch not in ("raise", "slow"):
            raise SelfrepError(f"on_mismatch is 'raise' or 'slow'; got {on_mismatch!r}.")
        self.lm, self.check, self.on_mismatch = lm, check, on_mismatch
        self.engine, self.proof = "replay", dict[str, float]()

    def attrs(self) -> dict[str, object]:
        return {"proof": json.dumps(self.proof), "engine": self.engine}

    def __call__(
        self, sweep: Sweep, budget: float, progress: Callable[[int], None] | None
    ) -> tuple[Mapping[str, np.ndarray], Baselines]:
        if self.engine == "replay":
            try:
                recorded = unpatched.record_sweep(self.lm, sweep)
                for law, off in (prove(recorded) if self.check else {}).items():
                    self.proof[law] = max(off, self.proof.get(law, 0.0))
                return {"patched": fast.run(recorded, budget=budget, progress=progress)}, recorded.baselines
            except CannotReplay as reason:
                warnings.warn(f"{reason} Each cell takes a whole forward pass: this is slow.", stacklevel=4)
            except Mismatch as reason:
                if self.on_mismatch == "raise":
                    raise
                warnings.warn(f"{reason} Going on with whole forward passes: this is slow.", stacklevel=4)
            self.engine = "plain"
        values, baselines = plain.run(self.lm, sweep, progress)
        return {"patched": values}, baselines
