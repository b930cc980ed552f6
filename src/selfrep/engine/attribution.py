"""Approximate patching: gradients in place of runs, in the shape that `patch` gives, for all cells at once.

How it is done is said in `selfrep.engine.replay.approximation`.
"""

from __future__ import annotations

from typing import Any, Unpack, overload

import xarray as xr

from selfrep.engine.metrics import Metrics, answer_log_odds
from selfrep.engine.patch import PatchOptions
from selfrep.engine.plan import AnyPlan, OnePlan, PlanUnion
from selfrep.engine.progress import Progress
from selfrep.engine.replay.approximation import Approximate, Method
from selfrep.engine.replay.runner import OnMismatch, Options, by_plan, run_sweep
from selfrep.engine.sweep import Pairs, bind, bind_tokens
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments


class GradientOptions(PatchOptions, total=False):
    """The options of `patch`, and those of the approximation."""

    method: Method
    ig_steps: int


class GradientTokensOptions(GradientOptions, total=False):
    """Those of `attribute_tokens`."""

    suffix: int | None


@overload
def attribute(
    lm: LanguageModel, pairs: Pairs, plan: OnePlan, metric: Metrics = answer_log_odds, **how: Unpack[GradientOptions]
) -> xr.Dataset: ...


@overload
def attribute(
    lm: LanguageModel, pairs: Pairs, plan: PlanUnion, metric: Metrics = answer_log_odds, **how: Unpack[GradientOptions]
) -> xr.DataTree: ...


def attribute(
    lm: LanguageModel,
    pairs: Pairs,
    plan: AnyPlan,
    metric: Metrics = answer_log_odds,
    *,
    method: Method = "attribution",
    ig_steps: int = 1,
    batch_size: int | None = None,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    on_mismatch: OnMismatch = "raise",
    progress: Progress = None,
) -> xr.Dataset | xr.DataTree:
    """Estimate what `patch` would give, from gradients at the target.

    Args:
        lm, pairs, plan, metric, batch_size, budget_gb, seed, progress: as in `patch`; the metric must be
            differentiable. The KL divergence from the target has no gradient at the target: read it with `ig_steps`.
        method: "attribution", or "atp*": queries and keys are written into their block's attention, and only what comes
            after is taken as linear; and a variable `grad_drop`, the mean over blocks of |effect without the gradient
            through that block|. The block that holds the cell is left out of the mean, since without it there is no
            effect; cells of resid_pre and resid_post lie between blocks, and none is left out.
        ig_steps: more than one: the gradient is averaged over so many Gauss–Legendre nodes on the straight line from
            the target's activations to those written, for each layer of a plan at all its tokens and components
            together. The effects of a layer then add up to the exact effect of writing all of them at once.
        check: whether the run that gradients are taken of must give the target's own metric.
        on_mismatch: what to do where it does not: "raise", or "slow" to go on with gradients of the untouched
            model, a pair at a time, and a warning.

    Returns:
        The Dataset (or DataTree) that `patch` returns. `patched` is the target's metric plus the approximate effect,
        `transfer` follows from it, `attrs["engine"]` says by which method.

    Raises:
        SelfrepError: as in `patch`; a prefix patch, for which there is no approximation; a metric without gradient;
            ig_steps with "atp*".

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> pairs = sr.pair(lm, people["robot"], people["nurse"], battery["who_are_you"], paraphrases=0)
        >>> estimates = sr.attribute(lm, pairs, sr.grid("resid_pre", layers=[2, 3], positions=[-10, -1]))
        >>> abs(estimates.transfer.sel(pair=0)).values.round(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    options = Options(batch_size, budget_gb, check, on_mismatch, progress)
    arguments.one(lm, LanguageModel, "model")
    approximate = Approximate(lm, plan, options, method, ig_steps)
    sweep = bind(lm, pairs, plan, metric, seed=seed)
    return by_plan(plan, run_sweep(lm, sweep, approximate, options))


@overload
def attribute_tokens(
    lm: LanguageModel, source: Any, target: Any, plan: OnePlan, metric: Metrics, **how: Unpack[GradientTokensOptions]
) -> xr.Dataset: ...


@overload
def attribute_tokens(
    lm: LanguageModel, source: Any, target: Any, plan: PlanUnion, metric: Metrics, **how: Unpack[GradientTokensOptions]
) -> xr.DataTree: ...


def attribute_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: AnyPlan,
    metric: Metrics,
    *,
    suffix: int | None = None,
    method: Method = "attribution",
    ig_steps: int = 1,
    batch_size: int | None = None,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    on_mismatch: OnMismatch = "raise",
    progress: Progress = None,
) -> xr.Dataset | xr.DataTree:
    """`attribute` for those who bring token ids; source, target and suffix as in `patch_tokens`.

    Returns, raises: as `attribute`.

    Example:
        >>> import selfrep as sr, torch
        >>> lm = sr.load_model("organism:separate")
        >>> source, target = torch.tensor([[1, 5, 9]]), torch.tensor([[1, 6, 9]])
        >>> estimates = sr.attribute_tokens(lm, source, target, sr.grid("resid_pre"), sr.logit_difference(5, 6))
        >>> estimates.sizes["layer"], estimates.sizes["position"]
        (6, 3)
    """
    options = Options(batch_size, budget_gb, check, on_mismatch, progress)
    arguments.one(lm, LanguageModel, "model")
    approximate = Approximate(lm, plan, options, method, ig_steps)
    sweep = bind_tokens(lm, source, target, plan, metric, suffix=suffix, seed=seed)
    return by_plan(plan, run_sweep(lm, sweep, approximate, options))
