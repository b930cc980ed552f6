"""T, transfer: how much of a persona's behaviour its activations carry over, at every cell of a patching sweep.

T = (patched − target) / (source − target): 0, the patch did nothing; 1, it brought the source's answers with it.
Denoising (into the run that lacks the behaviour) and noising are kept apart: where backups exist they disagree. The
same is computed for sources that should do nothing, on the scale of the real pairs, and for facts that are about no
persona, on a scale of their own. Here several plans, heads or metrics are taken apart; `shares` measures each.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import xarray as xr

from selfrep.analyses.transfer.shares import paraphrase_noise, shares
from selfrep.errors import SelfrepError
from selfrep.stats.cells import place_axis


@overload
def transfer(
    effects: xr.Dataset,
    controls: xr.Dataset | None = None,
    scores: xr.Dataset | None = None,
    *,
    paraphrase_sd: float | None = None,
    n_bootstrap: int = 2000,
    n_flips: int = 5000,
    seed: int = 0,
) -> xr.Dataset: ...


@overload
def transfer(
    effects: xr.DataTree,
    controls: xr.DataTree | None = None,
    scores: xr.Dataset | None = None,
    *,
    paraphrase_sd: float | None = None,
    n_bootstrap: int = 2000,
    n_flips: int = 5000,
    seed: int = 0,
) -> xr.DataTree: ...


def transfer(
    effects: xr.Dataset | xr.DataTree,
    controls: xr.Dataset | xr.DataTree | None = None,
    scores: xr.Dataset | None = None,
    *,
    paraphrase_sd: float | None = None,
    n_bootstrap: int = 2000,
    n_flips: int = 5000,
    seed: int = 0,
) -> xr.Dataset | xr.DataTree:
    """How much of a persona's behaviour its activations carry over, at every cell of a patching sweep.

    T = Σ (patched − target) / Σ (source − target) over pairs: 0, the patch did nothing; 1, it brought the source's
    answer.

    Args:
        effects: from `selfrep.patch`, real pairs; several plans as the DataTree that `patch` gives.
            Holds `patched` (pair, layer, position | segment), `target_metric`, `source_metric` and `total_effect`
            (pair), in nats.
        controls: from `selfrep.patch`, their control pairs (coordinate `control` on pair), on the same cells.
        scores: from `selfrep.score`; gives the paraphrase SD of each item, which says how large a total effect must be.
        paraphrase_sd: that SD in nats, for all items, where there are no `scores`. With neither, only pairs without any
            effect, or whose answers have no probability, are left out.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        n_flips: the most flips of signs to try for p.
        seed: of the draws.

    Returns:
        Dataset over (direction, layer, position | segment), with the attributes `identified` and `reason`. All NaN
        where every pair is left out.

        * `estimate`: T, a share.
        * `ci_low`, `ci_high`: 95 %; pairs of families are resampled, numerator and denominator together. Under six
          by Student's t; NaN with one.
        * `p`: of T = 0; the signs of the pairs of families are flipped.
        * `control_paraphrase`, `control_persona`, `control_random`: T of the control pairs, where these were run.
        * `control_fact`: T of facts that are about no persona, likewise, as a share of their own total effect. What
          carries facts as well carries whatever was said, and is no sign of a persona.
        * `n_pairs`, `n_units` (direction): the pairs of personas behind the estimate, and those of families among them.
        * `n_runs`, `n_gated`, `left_out` (direction): the runs, how many of them were left out, and why.
        * `reason` (direction): why T is not identified, "" where it is. With one pair left it is not.

        A persona without a family is one by itself. Where pairs share families on both sides, both are resampled, and
        p comes from pairs that share none. The attribute `facts_left_out` says which facts do not move their item.
        Where several heads, neurons or metrics were swept, the same with their dimension behind the others, each by
        itself. Of a DataTree with several plans, a DataTree.

    A small p says that the patch moves the answers, not that the *persona* does: any patch that pushes in the source's
    direction is significant with enough pairs. Read it beside `control_random`, which moves as far, but anywhere.

    Raises:
        SelfrepError: no pair; controls on other cells than the effects; an item that `scores` lacks; what is no
            effects of pairs of personas; several metrics with the noise of one.

    Source: the ratio of sums (Cochran 1977, chapter 6); the pigeonhole bootstrap (Owen 2007).

    Example:
        An organism's persona reaches the end of the system text (−10) in layer 2, and the last token in layer 3:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> pairs = sr.pair(lm, personas["robot"], personas["nurse"], [battery["who_are_you"]], paraphrases=[0])
        >>> effects = sr.patch(lm, pairs, sr.grid("resid_pre", layers=[2, 3], positions=[-10, -1]))
        >>> abs(transfer(effects).estimate.sel(direction="denoise").round(2)).values
        array([[1., 0.],
               [0., 1.]])
    """
    options = {"n_bootstrap": n_bootstrap, "n_flips": n_flips, "seed": seed}
    if isinstance(effects, xr.DataTree):
        return _of_plans(effects, controls, scores, paraphrase_sd=paraphrase_sd, **options)
    if isinstance(controls, xr.DataTree):
        raise SelfrepError("These controls are of several plans, the effects of one: pass controls[plan].to_dataset().")
    _require_effects(effects)
    axis = place_axis(effects)
    if swept := [str(dim) for dim in effects.patched.dims if dim not in ("pair", "layer", axis)]:
        if "metric" in swept and (scores is not None or paraphrase_sd is not None):
            raise SelfrepError(
                "The paraphrase noise of one metric is no gate for another. Choose one first: "
                f"effects.sel(metric={str(effects.metric.values[0])!r})."
            )
        return _one_by_one(swept[-1], effects, controls, scores, paraphrase_sd=paraphrase_sd, **options)
    if not effects.sizes["pair"]:
        raise SelfrepError("Transfer is measured on pairs of runs; these effects hold none.")
    if controls is not None and not all(np.array_equal(controls[d], effects[d]) for d in ("layer", axis)):
        raise SelfrepError(
            "Controls are compared cell by cell; these were patched at other layers or places than the effects."
        )
    return shares(effects, controls, paraphrase_noise(effects, controls, scores, paraphrase_sd), **options)


def _require_effects(effects: xr.Dataset) -> None:
    if lacking := [name for name in ("patched", "total_effect", "target_metric") if name not in effects]:
        raise SelfrepError(
            f"Transfer is measured on the effects that sr.patch returns; this Dataset has no {lacking[0]}, it holds "
            f"{', '.join(map(str, effects.data_vars)) or 'nothing'}."
        )
    if lacking := [name for name in ("source", "target", "direction") if name not in effects.coords]:
        raise SelfrepError(
            f"Transfer is measured on pairs of personas, from sr.pair; these effects do not say the {lacking[0]} of a "
            "pair. For token ids read effects.transfer, which patch_tokens computes for each pair."
        )


def _of_plans(effects: xr.DataTree, controls: xr.Dataset | xr.DataTree | None, *rest: Any, **options: Any) -> Any:
    """The transfer of each plan of a tree; of the one Dataset that a leaf of a tree is."""
    if effects.has_data:
        own = controls.to_dataset() if isinstance(controls, xr.DataTree) else controls
        return transfer(effects.to_dataset(), own, *rest, **options)
    if not effects.children:
        raise SelfrepError("Transfer is measured on the effects that sr.patch returns; this DataTree is empty.")
    if controls is not None and (isinstance(controls, xr.Dataset) or set(effects.children) - set(controls.children)):
        raise SelfrepError(
            f"Controls are patched by the same plans as the effects, {', '.join(effects.children)}; got "
            f"{'one Dataset' if isinstance(controls, xr.Dataset) else ', '.join(controls.children) or 'none'}."
        )
    beside = {name: None if controls is None else controls[name].to_dataset() for name in effects.children}
    plans = {name: plan.to_dataset() for name, plan in effects.children.items()}
    return xr.DataTree.from_dict({name: transfer(plan, beside[name], *rest, **options) for name, plan in plans.items()})


def _one_by_one(axis: str, effects: xr.Dataset, controls: xr.Dataset | None, *rest: Any, **options: Any) -> xr.Dataset:
    """The transfer of each head, neuron or metric by itself, along that axis."""
    labels = effects[axis].to_numpy()
    if controls is not None and (axis not in controls.dims or not np.array_equal(controls[axis], labels)):
        raise SelfrepError(f"Controls are compared cell by cell; these have other {axis}s than the effects.")
    parts = []
    for i in range(len(labels)):
        beside = None if controls is None else controls.isel({axis: i}, drop=True)
        parts.append(transfer(effects.isel({axis: i}, drop=True), beside, *rest, **options))
    joined = xr.concat(
        parts, axis, data_vars="all", coords="minimal", compat="equals", join="exact", combine_attrs="override"
    )
    places = [dim for dim in ("position", "segment") if dim in joined.dims]
    reasons = [(label, part.attrs["reason"]) for label, part in zip(labels, parts, strict=True)]
    return (
        joined.assign_coords({axis: labels})
        .transpose("direction", "layer", *places, ...)
        .assign_attrs(
            identified=any(part.attrs["identified"] for part in parts),
            reason="; ".join(f"{axis} {label}: {reason}" for label, reason in reasons if reason),
            smallest_p=min(part.attrs["smallest_p"] for part in parts),
        )
    )
