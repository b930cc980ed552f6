"""Approximate patching: gradients in place of runs, in the shape that `patch` gives, for all cells at once.

To first order, writing a value moves a metric by (value − the target's own) · ∂metric/∂activation, and one pass
forward and backward gives that gradient everywhere (attribution patching: Nanda 2023; Syed et al. 2023). Where that is
too coarse:

* integrated gradients (`ig_steps`) average the gradient along the way from the target's activations to those written
  (Sundararajan et al. 2017; Hanna et al. 2024);
* AtP* (Kramár et al. 2024) runs the attention of a block exactly when its queries or keys are written, since a softmax
  that is saturated has no gradient; and drops one block at a time from the gradient, so that effects which cancel show.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, Unpack, overload

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from selfrep.engine.effects import Baselines
from selfrep.engine.metrics import Metrics, answer_log_odds
from selfrep.engine.patch import OnMismatch, PatchOptions, require_known
from selfrep.engine.plan import (
    PREFIX,
    STREAM,
    AnyPlan,
    OnePlan,
    PatchCell,
    PatchPlan,
    PlanUnion,
    as_plan,
    plans_of,
)
from selfrep.engine.progress import Progress
from selfrep.engine.reference import Mismatch
from selfrep.engine.replay.baselines import record_sweep
from selfrep.engine.replay.gradients import (
    Place,
    TargetRuns,
    activation_after,
    gradients,
    replay_runs,
    whole_run,
)
from selfrep.engine.replay.runner import Options, Values, by_plan, run_sweep
from selfrep.engine.sweep import Pairs, PatchSweep, bind, bind_tokens
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments

Method = Literal["attribution", "atp*"]
MOST_TOKENS = 4096
"""How many tokens are pushed through a block at once where queries or keys are written."""


class GradientOptions(PatchOptions, total=False):
    """The options of `patch`, and those of the approximation."""

    method: Method
    ig_steps: int


@overload
def attribute(
    lm: LanguageModel,
    pairs: Pairs,
    plan: OnePlan,
    metric: Metrics = answer_log_odds,
    **how: Unpack[GradientOptions],
) -> xr.Dataset: ...


@overload
def attribute(
    lm: LanguageModel,
    pairs: Pairs,
    plan: PlanUnion,
    metric: Metrics = answer_log_odds,
    **how: Unpack[GradientOptions],
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
    arguments.one(lm, LanguageModel, "model")
    plan = as_plan(plan)
    approximate = Approximate(lm, plan, method, ig_steps, check, on_mismatch)
    sweep = bind(lm, pairs, plan, metric, seed=seed)
    options = Options(batch_size, budget_gb, progress, approximate.row_bytes(sweep))
    return by_plan(plan, run_sweep(lm, sweep, approximate, options))


@overload
def attribute_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: OnePlan,
    metric: Metrics,
    *,
    suffix: int | None = None,
    **how: Unpack[GradientOptions],
) -> xr.Dataset: ...


@overload
def attribute_tokens(
    lm: LanguageModel,
    source: Any,
    target: Any,
    plan: PlanUnion,
    metric: Metrics,
    *,
    suffix: int | None = None,
    **how: Unpack[GradientOptions],
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
    arguments.one(lm, LanguageModel, "model")
    plan = as_plan(plan)
    approximate = Approximate(lm, plan, method, ig_steps, check, on_mismatch)
    sweep = bind_tokens(lm, source, target, plan, metric, suffix=suffix, seed=seed)
    options = Options(batch_size, budget_gb, progress, approximate.row_bytes(sweep))
    return by_plan(plan, run_sweep(lm, sweep, approximate, options))


class Approximate:
    """Runs sweeps by gradients (a `Runner` of `run_sweep`)."""

    def __init__(
        self,
        lm: LanguageModel,
        plan: PatchPlan | PlanUnion,
        method: Method,
        ig_steps: int,
        check: bool,
        on_mismatch: OnMismatch = "raise",
    ) -> None:
        require_known(on_mismatch)
        if method not in ("attribution", "atp*"):
            raise SelfrepError(f"method is 'attribution' or 'atp*'; got {method!r}.")
        if ig_steps < 1 or (ig_steps > 1 and method == "atp*"):
            raise SelfrepError(
                f"ig_steps is a number of nodes, 1 for the gradient at the target, and goes with 'attribution' alone; "
                f"got {ig_steps} with {method!r}."
            )
        if any(one.site == PREFIX for one in plans_of(plan)):
            raise SelfrepError("A prefix patch has no approximation here: it costs little, use patch.")
        self.lm, self.star, self.ig_steps, self.check = lm, method == "atp*", ig_steps, check
        self.on_mismatch = on_mismatch
        self.replays = True

    def attrs(self) -> dict[str, object]:
        """The method."""
        engine = "atp*" if self.star else "attribution"
        return {"engine": f"integrated gradients, {self.ig_steps} steps" if self.ig_steps > 1 else engine}

    def row_bytes(self, sweep: PatchSweep) -> float:
        """What the pass of one pair keeps for the way back, and the gradients that are kept."""
        lm, tokens = self.lm, int(sweep.batch.target_ids.shape[1])
        matrices = [p.shape[-2:] for p in lm.blocks[0].parameters() if p.ndim > 1]
        heads = int(getattr(lm.hf.config.get_text_config(), "num_attention_heads", 1))
        numbers = sum(map(sum, matrices)) + 6 * lm.d_model + 4 * heads * tokens
        ways = len(sweep.metrics) * (1 + lm.n_layers if self.star else 1)
        sites = len({plan.site for plan in sweep.plans})
        return 4.0 * lm.n_layers * tokens * (numbers + 2 * ways * lm.d_model * sites)

    def __call__(self, sweep: PatchSweep, budget: float, progress: Callable[[int], None]) -> tuple[Values, Baselines]:
        """See `Runner`. What cannot be replayed is run as a whole, a pair at a time."""
        if self.replays:
            try:
                runs = replay_runs(record_sweep(self.lm, sweep))
                values = self.estimate(runs)
                progress(len(sweep) * len(sweep.cells))
                return values, runs.baselines
            except CannotReplay:  # as good, only slower
                self.replays = False
            except Mismatch as reason:
                if self.on_mismatch == "raise":
                    raise
                warnings.warn(f"{reason} Going on with gradients of the whole model: this is slow.", stacklevel=4)
                self.replays = False
        parts = []
        for row in range(len(sweep)):
            runs = whole_run(self.lm, sweep.rows([row]))
            parts.append((self.estimate(runs), runs.baselines))
            progress((row + 1) * len(sweep.cells))
        values = {name: np.concatenate([one[name] for one, _ in parts]) for name in parts[0][0]}
        return values, Baselines.merged([ends for _, ends in parts])

    def estimate(self, runs: TargetRuns) -> dict[str, np.ndarray]:
        """The approximate metrics "patched", and "grad_drop" with AtP*, each [pair, cell, metric]."""
        effects = self.effects(runs)
        values = {"patched": runs.baselines.target[:, None] + effects[:, :, 0]}
        if self.star:
            between = np.array([cell.site in STREAM for cell in runs.sweep.cells])
            n = np.where(between, self.lm.n_layers, max(1, self.lm.n_layers - 1))
            values["grad_drop"] = np.abs(effects[:, :, 1:]).sum(2) / n[:, None]
        return values

    def token_blocks(self, sweep: PatchSweep) -> float:
        """What it takes, as tokens pushed through blocks, forward or backward."""
        n, tokens = self.lm.n_layers, sweep.width * len(sweep)
        passes = 1 + len(sweep.metrics) * (1 + n if self.star else 1)
        if self.ig_steps > 1:
            blocks = sum(n - layer for plan in sweep.plans for layer in plan.layers or ())
            return float(tokens * passes * self.ig_steps * blocks)
        n_written = sum(cell.site in ("q", "k") for cell in sweep.cells) if self.star else 0
        return float(tokens * (passes * n + n_written))

    def effects(self, runs: TargetRuns) -> np.ndarray:
        """[pair, cell, way, metric] in the metric's unit, NaN where a pair has no token in the cell; way 0 is the
        effect, way 1 + l the effect without the gradient through block l."""
        plans = runs.sweep.plans
        places = [(plan.site, layer) for plan in plans for layer in plan.layers or ()]
        at = {place: place for place in places}
        if self.star:  # written queries and keys are followed as far as the heads' outputs
            at = {(site, layer): ("z" if site in ("q", "k") else site, layer) for site, layer in places}
        slopes: dict[Place, Tensor] = {}
        if self.ig_steps == 1:
            slopes = gradients(runs, sorted(set(at.values())), drop=self.star, check=self.check)
        elif self.check:
            with torch.no_grad():
                runs.check(runs.values(runs.rerun(0, 1)))
        parts = []
        for plan in plans:
            for layer in plan.layers or ():
                place = at[plan.site, layer]
                move = runs.move(plan, layer)
                masks = _masks(runs.sweep, plan, layer).to(move.device)
                if self.ig_steps > 1:
                    slope = _mean_gradient(runs, place, move, masks.any(0), self.ig_steps)
                else:
                    slope = slopes[place][:, :, 0]
                if place[0] == plan.site:
                    effect = _linear(plan, move, slope, masks)
                else:
                    effect = _through_attention(runs, plan, layer, move, slope, masks)
                parts.append(torch.where(masks.any(-1).T[:, :, None, None, None], effect, torch.nan).flatten(1, 2))
        return torch.cat(parts, dim=1).float().cpu().numpy()


def _masks(sweep: PatchSweep, plan: PatchPlan, layer: int) -> Tensor:
    """[where, row, token] which tokens the cells of a layer cover."""
    return torch.as_tensor(np.stack([sweep.mask(PatchCell(plan, layer, where)) for where in plan.where or ()]))


def _linear(plan: PatchPlan, move: Tensor, slope: Tensor, masks: Tensor) -> Tensor:
    """move · slope over the tokens and components of each cell: [row, where, component or 1, way, metric]."""
    each = (move * slope).sum(-1)  # [way, metric, row, token, (component)]
    each = each[..., None] if plan.components is None else each[..., list(plan.components)]
    return torch.einsum("ambtc,wbt->bwcam", each, masks.to(each))


def _mean_gradient(runs: TargetRuns, place: Place, move: Tensor, mask: Tensor, steps: int) -> Tensor:
    """The gradient, averaged on the way from the target's activations to those moved at the covered tokens.

    Args:
        move: [row, token, (component,) feature]; covered: [row, token].

    Returns:
        [1, metric, row, token, (component,) feature].
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    move = torch.where(mask.reshape(*mask.shape, *[1] * (move.ndim - 2)), move, 0.0)
    total: Tensor | None = None
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        slope = weight * gradients(runs, [place], block=place[1], add={place: point * move})[place][:, :, 0]
        total = slope if total is None else total + slope
    if total is None:
        raise SelfrepError(f"Integrated gradients need at least one node; got {steps}.")
    return total


def _through_attention(
    runs: TargetRuns, plan: PatchPlan, layer: int, move: Tensor, slope: Tensor, masks: Tensor
) -> Tensor:
    """Effects of written queries or keys: the block's attention is run with them, and what leaves the heads is linear.

    Args:
        move: [row, token, head, d_head] of the queries or keys; slope: [way, metric, row, token, head, d_head] at z.

    Returns:
        [row, where, head, way, metric].
    """
    z, at = ("z", layer), (plan.site, layer)
    heads = plan.components or ()
    own = activation_after(runs, z, at, torch.zeros_like(move)[None])
    cells = [(w, head) for w in range(len(masks)) for head in heads]
    step = max(1, MOST_TOKENS // (move.shape[0] * move.shape[1]))
    parts = []
    for start in range(0, len(cells), step):
        some = cells[start : start + step]
        add = move.new_zeros(len(some), *move.shape)
        for one, (w, head) in zip(add, some, strict=True):
            one[:, :, head] = torch.where(masks[w][..., None], move[:, :, head], 0.0)
        parts.append(torch.einsum("ambtnf,cbtnf->bcam", slope, activation_after(runs, z, at, add) - own))
    return torch.cat(parts, dim=1).unflatten(1, (len(masks), len(heads)))
