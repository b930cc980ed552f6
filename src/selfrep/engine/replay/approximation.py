"""Gradients in place of patched runs: a sweep's effects to first order, or somewhat better, for all its cells at once.

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
from dataclasses import InitVar, dataclass
from functools import reduce
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.effects import Baselines
from selfrep.engine.hooks import Place
from selfrep.engine.plan import PREFIX, STREAM, AnyPlan, PatchCell, PatchPlan, as_plan, plans_of
from selfrep.engine.reference import Mismatch
from selfrep.engine.replay.baselines import record_sweep
from selfrep.engine.replay.gradients import TargetRuns, activation_after, gradients, replay_runs, whole_run
from selfrep.engine.replay.runner import Options, Values
from selfrep.engine.sweep import PatchSweep
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.language_model import LanguageModel

Method = Literal["attribution", "atp*"]
MOST_TOKENS = 4096
"""How many tokens are pushed through a block at once where queries or keys are written."""


@dataclass
class Approximate:
    """Runs sweeps by gradients (a `Runner` of `run_sweep`).

    Attributes:
        plan: what will be run, to be refused where it has no approximation.
        replays: whether the replay is still the way to go.
    """

    lm: LanguageModel
    plan: InitVar[AnyPlan]
    options: Options
    method: Method
    ig_steps: int
    replays: bool = True

    def __post_init__(self, plan: AnyPlan) -> None:
        if self.method not in get_args(Method):
            raise SelfrepError(f"method is 'attribution' or 'atp*'; got {self.method!r}.")
        if self.ig_steps < 1 or (self.ig_steps > 1 and self.star):
            raise SelfrepError(
                f"ig_steps is a number of nodes, 1 for the gradient at the target, and goes with 'attribution' alone; "
                f"got {self.ig_steps} with {self.method!r}."
            )
        if any(one.site == PREFIX for one in plans_of(as_plan(plan))):
            raise SelfrepError("A prefix patch has no approximation here: it costs little, use patch.")

    @property
    def star(self) -> bool:
        """Whether this is AtP*."""
        return self.method == "atp*"

    def attrs(self) -> dict[str, object]:
        """The method."""
        return {"engine": f"integrated gradients, {self.ig_steps} steps" if self.ig_steps > 1 else self.method}

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
                if self.options.on_mismatch == "raise":
                    raise
                warnings.warn(f"{reason} Going on with gradients of the whole model: this is slow.", stacklevel=6)
                self.replays = False
        parts = []
        for row in range(len(sweep)):
            runs = whole_run(self.lm, sweep.rows([row]))
            parts.append((self.estimate(runs), runs.baselines))
            progress((row + 1) * len(sweep.cells))
        values, baselines = zip(*parts, strict=True)
        return {name: np.concatenate([one[name] for one in values]) for name in values[0]}, Baselines.merged(baselines)

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

    def read_at(self, plan: PatchPlan) -> str:
        """The site whose gradient is taken; AtP* follows written queries and keys as far as the heads' outputs."""
        return "z" if self.star and plan.site in ("q", "k") else plan.site

    def effects(self, runs: TargetRuns) -> np.ndarray:
        """[pair, cell, way, metric] in the metric's unit, NaN where a pair has no token in the cell; way 0 is the
        effect, way 1 + l the effect without the gradient through block l."""
        written = [(plan, layer) for plan in runs.sweep.plans for layer in plan.layers or ()]
        slopes: dict[Place, Tensor] = {}
        if self.ig_steps == 1:
            places = sorted({(self.read_at(plan), layer) for plan, layer in written})
            slopes = gradients(runs, places, drop=self.star, check=self.options.check)
        elif self.options.check:
            with torch.no_grad():
                runs.check(runs.values(runs.rerun(0, 1)))
        parts = []
        for plan, layer in written:
            site = self.read_at(plan)
            move = runs.move(plan, layer)
            masks = _masks(runs.sweep, plan, layer).to(move.device)
            if self.ig_steps > 1:
                slope = _mean_gradient(runs, (site, layer), move, masks.any(0), self.ig_steps)
            else:
                slope = slopes[site, layer][:, :, 0]
            if site == plan.site:
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
        move: [row, token, (component,) feature]; mask: [row, token] which are covered.

    Returns:
        [1, metric, row, token, (component,) feature].
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    move = torch.where(mask.reshape(*mask.shape, *[1] * (move.ndim - 2)), move, 0.0)
    slopes = (
        weight * gradients(runs, [place], block=place[1], add={place: point * move})[place][:, :, 0]
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True)
    )
    return reduce(torch.add, slopes)


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
