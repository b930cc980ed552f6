"""Approximate everywhere, exact where it matters.

Gradients rank the cells of a sweep for about the cost of one more pass. The cells that promise the largest effects for
what they cost are then patched exactly, and so is a random sample of all cells, which tells how far to trust the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from selfrep.engine import fast, unpatched
from selfrep.engine.attribution import Approximate, Method
from selfrep.engine.batches import Options, Progress, sweep_pairs
from selfrep.engine.effects import Baselines
from selfrep.engine.ground import upon
from selfrep.engine.metrics import Metric, answer_log_odds
from selfrep.engine.plan import Plan
from selfrep.engine.proof import prove
from selfrep.engine.recording import STREAM
from selfrep.engine.sweep import Sweep
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import PromptPair, align
from selfrep.stats.rounding import negligible

BOUND = 0.95
"""The share of the random sample whose error lies within `error_bound`."""


def screen(
    lm: LanguageModel,
    pairs: Sequence[PromptPair],
    plan: Plan,
    metric: Metric | Sequence[Metric] = answer_log_odds,
    *,
    budget: float = 0.2,
    sample: float = 0.02,
    method: Method = "attribution",
    ig_steps: int = 1,
    batch_size: int = 1,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    progress: Progress | None = None,
) -> Any:
    """Find the cells with the largest effects for a share of what patching all of them takes.

    Args:
        pairs, plan, metric, budget_gb, seed, check, progress: as in `patch`.
        budget: what may be spent, as a share of the exact sweep, both counted in tokens pushed through blocks (forward
            or backward), recordings and approximation included. The approximation and the sample are run in any case:
            in a sweep of a few cells they may take more.
        sample: the share of cells drawn at random (at least one) and patched exactly whatever they promise.
        method, ig_steps: of the approximation, as in `attribute`.
        batch_size: pairs screened together, which share their choice of cells.

    Returns:
        The Dataset (or DataTree) that `patch` returns, and in it, over the same cells:
        `patched`: exact where it was computed, approximate elsewhere; `approximate`: the approximation everywhere;
        `exact`, `sampled`: bool, whether a cell was patched, and whether as one of the random sample.
        And, for each metric, of the random sample of all pairs: `rank_correlation` (Spearman) of approximate and exact
        effects, and `error_bound`, within which lie 95 % of |approximate − exact|; NaN where there is nothing to tell
        them from. `attrs["cost_share"]` says what was spent, `attrs["sample_size"]` is that of the sample.

    Raises:
        SelfrepError: as in `patch` and `attribute`; shares that are not between 0 and 1.
        CannotReplay: an architecture whose blocks cannot be replayed.
    """
    approximate = Approximate(lm, method, ig_steps, plan)
    screening = _Screening(approximate, budget, sample, seed, check)
    batch = align(pairs)
    options = Options(batch_size, budget_gb, seed, progress, approximate.row_bytes(batch, metric))
    found = sweep_pairs(lm, batch, plan, metric, screening, options)
    if isinstance(found, xr.Dataset):
        return _told(found)
    return xr.DataTree.from_dict({name: _told(node.to_dataset()) for name, node in found.children.items()})


class _Screening:
    """Runs sweeps by screening (a `Runner` of `sweep_pairs`)."""

    def __init__(self, approximate: Approximate, budget: float, sample: float, seed: int, check: bool) -> None:
        if not (0 < budget <= 1 and 0 <= sample <= 1):
            raise SelfrepError(
                f"budget is a share of the exact cost, sample of the cells, 0 … 1; got {budget} and {sample}."
            )
        self.approximate, self.budget, self.sample, self.check = approximate, budget, sample, check
        self.rng = np.random.default_rng(seed)
        self.spent = self.whole = 0.0

    def attrs(self) -> dict[str, object]:
        approximate = self.approximate.attrs()
        return {**approximate, "engine": f"screen, {approximate['engine']}", "cost_share": self.spent / self.whole}

    def __call__(
        self, sweep: Sweep, budget: float, progress: Callable[[int], None] | None
    ) -> tuple[Mapping[str, np.ndarray], Baselines]:
        recorded = unpatched.record_sweep(self.approximate.lm, sweep)
        if self.check:
            prove(recorded)
        values = self.approximate.on(upon(recorded))
        values["approximate"] = values["patched"]
        n_cells, n_layers = len(sweep.cells), self.approximate.lm.n_layers
        costs = _costs(sweep, n_layers)
        begun = n_layers * float(sum((ids >= 0).sum() for ids in (sweep.donor_ids, sweep.batch.target_ids)))
        whole, begun = begun + float(costs.sum()), begun + self.approximate.token_blocks(sweep)
        size = min(n_cells, max(1, round(self.sample * n_cells))) if self.sample else 0
        sampled = self.rng.choice(n_cells, size=size, replace=False)
        left = self.budget * whole - begun - float(costs[sampled].sum())
        ends = recorded.baselines.source, recorded.baselines.target
        scale = np.abs(ends).max(axis=(0, 1))
        promise = _promise(sweep, values["approximate"] - ends[1][:, None], scale)
        promise[sampled] = 0.0
        order = np.argsort(-(promise**2) / costs, kind="stable")  # squared: the larger effects are worth more than many
        affordable = order[(np.cumsum(costs[order]) <= left) & (promise[order] > 0)]
        chosen = np.union1d(sampled, affordable).astype(int)
        exact = fast.run(recorded, budget=budget, progress=progress, only=chosen.tolist())
        values["patched"] = np.where(np.isnan(exact), values["approximate"], exact)
        values["exact"] = (~np.isnan(exact)).astype(float)
        values["sampled"] = np.zeros_like(exact)
        values["sampled"][:, sampled] = values["exact"][:, sampled]
        self.whole += whole
        self.spent += begun + float(costs[chosen].sum())
        if progress is not None:
            progress(len(sweep.reach) * n_cells)
        return values, recorded.baselines


def _costs(sweep: Sweep, n_layers: int) -> np.ndarray:
    """[cell] how many tokens a patched run pushes through how many blocks; at least one."""
    first = [int(sweep.mask(plan, cell).any(0).argmax()) for plan, cell in sweep.cells]
    blocks = np.array([n_layers - plan.joins(cell.layer, n_layers) for plan, cell in sweep.cells])
    # What is written inside a block is first taken through that block, all its tokens at once: a token for each cell.
    inside = np.array([cell.site not in STREAM for _, cell in sweep.cells])
    return len(sweep.reach) * np.maximum(1.0, (sweep.width - np.array(first)) * blocks + inside)


def _promise(sweep: Sweep, effects: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[cell] the largest |approximate effect| over pairs and metrics, on the scale of its plan and metric.

    Args:
        effects: [pair, cell, metric]; NaN where there is none.
        scale: [metric] how large the metrics are; effects that are rounding beside them are not blown up.
    """
    size = np.nan_to_num(np.abs(effects)).max(0)
    at = 0
    for plan in sweep.plans:
        part = size[at : at + len(plan.cells)]
        largest = part.max(0)
        part /= np.where(negligible(largest, scale), 1.0, largest)
        at += len(part)
    return size.max(-1)


def _told(found: xr.Dataset) -> xr.Dataset:
    """The same, with what the random sample tells about the approximation."""
    effects = {name: (found[name] - found.target_metric) for name in ("patched", "approximate")}
    axes = [dim for dim in found.patched.dims if dim != "metric"]
    exact, rough = (effect.transpose(*axes, ...).values for effect in effects.values())
    sampled = found.sampled.transpose(*axes, ...).values > 0
    n_metrics = found.sizes.get("metric", 1)
    columns = [x.reshape(-1, n_metrics).T for x in (exact, rough, sampled)]
    ranks, bounds = [], []
    ends = np.stack([found.source_metric.values, found.target_metric.values]).reshape(-1, n_metrics)
    for true, guess, chosen, size in zip(*columns, np.abs(ends).max(axis=0), strict=True):
        true, guess = true[chosen], guess[chosen]
        varies = chosen.any() and not any(negligible(np.ptp(x), size) for x in (true, guess))
        ranks.append(spearmanr(true, guess).statistic if varies else np.nan)
        bounds.append(np.quantile(np.abs(true - guess), BOUND) if chosen.any() else np.nan)
    last = ("metric",) if "metric" in found.dims else ()
    told = {
        name: (last, np.array(values, dtype=np.float32).reshape(n_metrics if last else ()))
        for name, values in (("rank_correlation", ranks), ("error_bound", bounds))
    }
    marks = {name: found[name].fillna(0).astype(bool) for name in ("exact", "sampled")}
    return found.assign({**told, **marks}).assign_attrs(sample_size=int(sampled.sum() // n_metrics))
