"""Approximate everywhere, exact where it matters.

Gradients rank the cells of a sweep for about the cost of one more pass. The cells that promise the largest effects for
what they cost are then patched exactly, and so is a random sample of all cells, which tells how far to trust the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack, overload

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from selfrep.engine.effects import Baselines
from selfrep.engine.metrics import Metrics, answer_log_odds
from selfrep.engine.misses import Misses, to_attrs, worst
from selfrep.engine.patch import SweepOptions
from selfrep.engine.plan import STREAM, AnyPlan, OnePlan, PlanUnion
from selfrep.engine.progress import Progress
from selfrep.engine.replay.approximation import Approximate, Method
from selfrep.engine.replay.baselines import record_sweep
from selfrep.engine.replay.cells import run_cells
from selfrep.engine.replay.gradients import replay_runs
from selfrep.engine.replay.runner import Options, Values, by_plan, run_sweep
from selfrep.engine.selfcheck import selfcheck
from selfrep.engine.sweep import Pairs, PatchSweep, bind
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.stats.rounding import negligible

BOUND = 0.95
"""The share of the random sample whose error lies within `error_bound`."""


class ScreenOptions(SweepOptions, total=False):
    """The options of every sweep, the approximation, and what may be spent."""

    method: Method
    ig_steps: int
    budget: float
    sample: float


@overload
def screen(
    lm: LanguageModel, pairs: Pairs, plan: OnePlan, metric: Metrics = answer_log_odds, **how: Unpack[ScreenOptions]
) -> xr.Dataset: ...


@overload
def screen(
    lm: LanguageModel, pairs: Pairs, plan: PlanUnion, metric: Metrics = answer_log_odds, **how: Unpack[ScreenOptions]
) -> xr.DataTree: ...


def screen(
    lm: LanguageModel,
    pairs: Pairs,
    plan: AnyPlan,
    metric: Metrics = answer_log_odds,
    *,
    budget: float = 0.2,
    sample: float = 0.02,
    method: Method = "attribution",
    ig_steps: int = 1,
    batch_size: int | None = 1,
    budget_gb: float | None = None,
    seed: int = 0,
    check: bool = True,
    progress: Progress = None,
) -> xr.Dataset | xr.DataTree:
    """Find the cells with the largest effects for a share of what patching all of them takes.

    Args:
        lm, pairs, plan, metric, budget_gb, seed, check, progress: as in `patch`.
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

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> robot, nurse, item = people["robot"], people["nurse"], battery["who_are_you"]
        >>> pairs = sr.pair(lm, robot, nurse, item, paraphrases=0, directions="denoise")
        >>> effects = sr.screen(lm, pairs, sr.grid("resid_pre"))
        >>> effects.sizes["layer"], effects.sizes["position"], bool(0 < effects.exact.mean() < 1)
        (6, 10, True)
    """
    options = Options(batch_size, budget_gb, check, progress=progress)
    arguments.one(lm, LanguageModel, "model")
    screening = _Screening(Approximate(lm, plan, options, method, ig_steps), budget, sample, seed)
    sweep = bind(lm, pairs, plan, metric, seed=seed)
    return by_plan(plan, [_with_sample(one) for one in run_sweep(lm, sweep, screening, options)])


class _Screening:
    """Runs sweeps by screening (a `Runner` of `run_sweep`)."""

    def __init__(self, approximate: Approximate, budget: float, sample: float, seed: int) -> None:
        if not (0 < budget <= 1 and 0 <= sample <= 1):
            raise SelfrepError(
                f"budget is a share of the exact cost, sample of the cells, 0 … 1; got {budget} and {sample}."
            )
        self.approximate, self.budget, self.sample = approximate, budget, sample
        self.rng = np.random.default_rng(seed)
        self.spent = self.whole = 0.0
        self.misses = Misses()

    def row_bytes(self, sweep: PatchSweep) -> float:
        return self.approximate.row_bytes(sweep)

    def attrs(self) -> dict[str, object]:
        approximate = self.approximate.attrs()
        screened = {"engine": f"screen, {approximate['engine']}", "cost_share": self.spent / self.whole}
        return {**approximate, **to_attrs(self.misses), **screened}

    def __call__(self, sweep: PatchSweep, budget: float, progress: Callable[[int], None]) -> tuple[Values, Baselines]:
        recording = record_sweep(self.approximate.lm, sweep)
        if self.approximate.options.check:
            self.misses = worst(self.misses, selfcheck(recording))
        values = self.approximate.estimate(replay_runs(recording))
        values["approximate"] = values["patched"]
        n_cells, n_layers = len(sweep.cells), self.approximate.lm.n_layers
        costs = _costs(sweep, n_layers)
        base = n_layers * float(sum((ids >= 0).sum() for ids in (sweep.donor_ids, sweep.batch.target_ids)))
        whole, base = base + float(costs.sum()), base + self.approximate.token_blocks(sweep)
        size = min(n_cells, max(1, round(self.sample * n_cells))) if self.sample else 0
        sample = self.rng.choice(n_cells, size=size, replace=False)
        remaining = self.budget * whole - base - float(costs[sample].sum())
        ends = recording.baselines.source, recording.baselines.target
        scale = np.abs(ends).max(axis=(0, 1))
        promise = _promise(sweep, values["approximate"] - ends[1][:, None], scale)
        promise[sample] = 0.0
        order = np.argsort(-(promise**2) / costs, kind="stable")  # squared: the larger effects are worth more than many
        affordable = order[(np.cumsum(costs[order]) <= remaining) & (promise[order] > 0)]
        numbers = np.union1d(sample, affordable).astype(int)
        exact = run_cells(recording, budget=budget, progress=progress, only=numbers.tolist())
        values["patched"] = np.where(np.isnan(exact), values["approximate"], exact)
        values["exact"] = (~np.isnan(exact)).astype(float)
        values["sampled"] = np.zeros_like(exact)
        values["sampled"][:, sample] = values["exact"][:, sample]
        self.whole += whole
        self.spent += base + float(costs[numbers].sum())
        progress(len(sweep) * n_cells)
        return values, recording.baselines


def _costs(sweep: PatchSweep, n_layers: int) -> np.ndarray:
    """[cell] how many tokens a patched run pushes through how many blocks; at least one."""
    blocks = np.array([n_layers - cell.first_block(n_layers) for cell in sweep.cells])
    # What is written inside a block is first taken through that block, all its tokens at once: a token for each cell.
    inside = np.array([cell.site not in STREAM for cell in sweep.cells])
    return len(sweep) * np.maximum(1.0, (sweep.width - np.array(sweep.firsts)) * blocks + inside)


def _promise(sweep: PatchSweep, effects: np.ndarray, scale: np.ndarray) -> np.ndarray:
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


def _with_sample(effects: xr.Dataset) -> xr.Dataset:
    """The same, with what the random sample says of the approximation."""
    dims = ("metric",) if "metric" in effects.dims else ()
    of_metrics = [effects.isel(metric=m) for m in range(effects.sizes["metric"])] if dims else [effects]
    trust = np.array([_trust(of_one) for of_one in of_metrics], dtype=np.float32)
    ranks, bounds = trust.T if dims else trust[0]
    summary = {"rank_correlation": (dims, ranks), "error_bound": (dims, bounds)}
    marks = {name: effects[name].fillna(0).astype(bool) for name in ("exact", "sampled")}
    size = int(marks["sampled"].sum()) // len(of_metrics)
    return effects.assign({**summary, **marks}).assign_attrs(sample_size=size)


def _trust(effects: xr.Dataset) -> tuple[float, float]:
    """The rank correlation of approximate and exact effects in the random sample, for one metric; and the bound."""
    in_sample = effects.sampled.values > 0
    if not in_sample.any():
        return np.nan, np.nan
    moves = [effects[name] - effects.target_metric for name in ("patched", "approximate")]
    true, guess = (move.transpose(*effects.sampled.dims).values[in_sample] for move in moves)
    size = np.abs([effects.source_metric.values, effects.target_metric.values]).max()
    varies = not any(negligible(np.ptp(x), size) for x in (true, guess))
    rank = spearmanr(true, guess).statistic if varies else np.nan
    return float(rank), float(np.quantile(np.abs(true - guess), BOUND))
