"""T, transfer: how much of a persona's behaviour its activations carry over, at every cell of a patching sweep.

T = (patched − target) / (source − target): 0, the patch did nothing; 1, it brought the source's answers with it.
Denoising (into the run that lacks the behaviour) and noising are kept apart: where backups exist they disagree.

A ratio over a small total effect explodes, so pairs whose total effect is under three paraphrase SDs are left out.
Where that is most pairs of an item, all of its pairs are: among many pairs without an effect, a few seem to have one by
luck. Without any pair left, T is not identified. The same is computed for sources that should do nothing, on the scale
of the real pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, ratios, resampling
from selfrep.stats.gates import GATE, LEAST_MASS
from selfrep.stats.rounding import negligible

Array = np.ndarray

FEW = 6
"""With fewer units no bootstrap percentile is far enough out: n values span their mean with chance 1 − 2^(1−n)."""


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
        * `ci_low`, `ci_high`: 95 %; pairs of personas are resampled, numerator and denominator together. Under six
          pairs by Student's t; NaN with one.
        * `p`: of T = 0; the signs of the pairs of personas are flipped.
        * `control_paraphrase`, `control_persona`, `control_random`: T of the control pairs, where these were run.
        * `n_pairs` (direction): the pairs of personas behind the estimate.
        * `n_gated` (direction): the runs that were left out.

        Where pairs share personas on both sides, both personas are resampled, and p comes from pairs that share none.
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
    axis = "position" if "position" in effects.dims else "segment"
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
    noise = _noise(effects, scores, paraphrase_sd)
    why = _gates(effects, noise)
    control_why = None if controls is None else _gates(controls, noise)
    directions = list(dict.fromkeys(map(str, effects.direction.to_numpy())))
    kinds = [] if controls is None else sorted(set(map(str, controls.control.to_numpy())))
    rng = np.random.default_rng(seed)
    parts, n_pairs, n_gated, smallest = [], [], [], 1.0
    for direction in directions:
        mine = effects.direction.to_numpy() == direction
        kept = mine & (why == "")
        n_gated.append(int((mine & ~kept).sum()))
        maps = dict.fromkeys(
            ("estimate", "ci_low", "ci_high", "p", *(f"control_{k}" for k in kinds)),
            np.full(effects.patched.shape[1:], np.nan),
        )
        units = _Units.of(effects, kept)
        n_pairs.append(len(units.total))
        if len(units.total):
            estimates, least = _estimates(units, n_bootstrap, n_flips, rng)
            maps |= estimates
            smallest = min(smallest, least)
        for kind in kinds:
            if controls is None or control_why is None:
                break
            chosen = (control_why == "") & (controls.direction.to_numpy() == direction)
            movement, total = _movement(controls, chosen & (controls.control.to_numpy() == kind))
            if len(total) and len(units.total):
                maps[f"control_{kind}"] = movement.sum(axis=0) / total.sum()
        parts.append(maps)
    reasons = [] if any(n_pairs) else sorted(set(why.tolist()))
    dims = ("direction", "layer", axis)
    return xr.Dataset(
        {k: (dims, np.stack([part[k] for part in parts])) for k in parts[0]}
        | {"n_pairs": ("direction", n_pairs), "n_gated": ("direction", n_gated)},
        coords={"direction": directions, "layer": effects.layer, axis: effects[axis]} | _places(effects, axis),
        attrs={
            "site": effects.attrs["site"],
            "identified": not reasons,
            "reason": "; ".join(reasons),
            "permuted": "the signs of the effects of pairs of personas (p tests T = 0: read it beside control_random)",
            "smallest_p": smallest,
            "items": sorted(set(map(str, effects.item.to_numpy()))),
            "seed": seed,
        },
    )


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


def _estimates(
    units: _Units, n_bootstrap: int, n_flips: int, rng: np.random.Generator
) -> tuple[dict[str, Array], float]:
    """The maps of one direction from its pairs of personas, and the smallest p these can give."""
    maps = {"estimate": units.movement.sum(axis=0) / units.total.sum()}
    factors = units.factors()
    if len(factors) == 1:
        units = units.merged(factors[0])
        factors = [np.arange(len(units.total))]
    n = min(int(factor.max()) + 1 for factor in factors)
    if n < 2:
        return maps, 1.0
    alone = units.disjoint() if len(factors) > 1 else factors[0]
    table = units.movement[alone].reshape(len(alone), -1).T
    flips = permutation.sign_flips(len(alone), n_flips, rng)
    maps["p"] = permutation.permutation_test(table, flips, absolute=True).p.reshape(maps["estimate"].shape)
    if len(factors) == 1 and n < FEW:
        maps["ci_low"], maps["ci_high"] = ratios.ratio_interval(units.movement, units.total)
    else:
        weights = units.resampled(factors, n_bootstrap, rng)
        draws = np.tensordot(weights, units.movement, 1) / (weights @ units.total)[:, None, None]
        maps["ci_low"], maps["ci_high"] = resampling.interval(np.moveaxis(draws, 0, -1), resampling.tail(n, n - 1))
    return maps, 1 / len(flips)


@dataclass(frozen=True, eq=False)
class _Units:
    """The pairs of personas of one direction.

    Attributes:
        names: [unit] source, target.
        movement: [unit, layer, place] nats.
        total: [unit] the total effect, nats, above 0.
    """

    names: list[tuple[str, str]]
    movement: Float[Array, "unit layer place"]
    total: Float[Array, " unit"]

    @classmethod
    def of(cls, effects: xr.Dataset, chosen: Bool[Array, " pair"]) -> _Units:
        ends = zip(effects.source.to_numpy()[chosen], effects.target.to_numpy()[chosen], strict=True)
        rows = cls([(str(source), str(target)) for source, target in ends], *_movement(effects, chosen))
        names = {name: k for k, name in enumerate(dict.fromkeys(rows.names))}
        return rows.merged(np.array([names[name] for name in rows.names], dtype=int))

    def merged(self, label: Int[Array, " unit"]) -> _Units:
        """Units with the same label as one."""
        member = np.arange(label.max(initial=-1) + 1)[:, None] == label
        names = [self.names[int(row.argmax())] for row in member]
        return _Units(names, np.tensordot(member.astype(float), self.movement, 1), member @ self.total)

    def factors(self) -> list[Int[Array, " unit"]]:
        """The units of sampling, as labels: usually the pair, and the persona where pairs share some.

        Pairs that share no persona stand for themselves; so do those that all share one (the estimate is then about
        that one). Where they share personas of one side, these are the units; where of both sides, both are.
        """
        sides = [np.unique(column, return_inverse=True)[1] for column in np.array(self.names).T]
        shared = [side for side in sides if 1 < side.max() + 1 < len(side)]
        if len(shared) == 2 and (coarse := [s for s, t in (shared, shared[::-1]) if _determines(t, s)]):
            shared = coarse[:1]
        return shared or [np.arange(len(self.names))]

    def resampled(
        self, factors: list[Int[Array, " unit"]], n: int, rng: np.random.Generator
    ) -> Float[Array, "draw unit"]:
        """Bootstrap weights of the units.

        Of two factors each is resampled, and a unit weighs the product (the pigeonhole bootstrap, Owen 2007), which
        errs on the side of wide intervals. Draws without any unit are repeated.
        """
        weights = np.zeros((n, len(self.names)))
        while len(poor := np.flatnonzero(weights.sum(axis=1) == 0)):
            weights[poor] = np.prod(
                [resampling.resample(int(f.max()) + 1, len(poor), rng)[:, f] for f in factors], axis=0
            )
        return weights

    def disjoint(self) -> Int[Array, " chosen"]:
        """Units of which no two share a persona: these are independent, so that their signs may be flipped."""
        met: set[str] = set()
        chosen = []
        for i, name in enumerate(self.names):
            if not met & set(name):
                met |= set(name)
                chosen.append(i)
        return np.array(chosen)


def _determines(fine: Int[Array, " unit"], coarse: Int[Array, " unit"]) -> bool:
    """Whether units with the same `fine` label always have the same `coarse` label."""
    return len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == len(set(fine.tolist()))


def _movement(
    effects: xr.Dataset, chosen: Bool[Array, " pair"]
) -> tuple[Float[Array, "row layer place"], Float[Array, " row"]]:
    """Movement and total effect of each run, both with the sign that makes the total positive."""
    total = effects.total_effect.to_numpy()[chosen].astype(float)
    movement = effects.patched.to_numpy()[chosen].astype(float)
    movement -= effects.target_metric.to_numpy()[chosen].astype(float)[:, None, None]
    return movement * np.sign(total)[:, None, None], np.abs(total)


def _noise(effects: xr.Dataset, scores: xr.Dataset | None, paraphrase_sd: float | None) -> dict[str, float]:
    """The paraphrase SD of each item (nats); 0 where nothing is known."""
    items = sorted(set(map(str, effects.item.to_numpy())))
    if scores is None:
        return dict.fromkeys(items, paraphrase_sd or 0.0)
    out = {}
    for item in items:
        mine = (scores.item.to_numpy() == item) & (scores.condition.to_numpy() == "you")
        if not mine.any():
            raise SelfrepError(f"The gate of T needs the answers to {item!r}; the scores hold none of that item.")
        _, unit = np.unique(scores.persona.to_numpy()[mine], return_inverse=True)
        out[item] = float(resampling.within_sd(scores.log_odds.to_numpy()[mine], unit))
    return out


def _gates(effects: xr.Dataset, noise: dict[str, float]) -> Array:
    """[pair] why a run cannot be part of a ratio; "" where it can."""
    least = GATE * np.array([noise[str(item)] for item in effects.item.to_numpy()])
    total = np.abs(effects.total_effect.to_numpy())
    why = np.full(len(total), "", dtype=object)
    ends = np.maximum(np.abs(effects.source_metric.to_numpy()), np.abs(effects.target_metric.to_numpy()))
    large = (total >= least) & ~negligible(total, ends)
    for item in noise:
        mine = effects.item.to_numpy() == item
        lucky, runs = int(large[mine].sum()), int(mine.sum())
        if lucky == 0:
            why[mine] = (
                "the total effect of every pair is under three times the paraphrase noise: there is nothing to carry "
                "over"
            )
        elif 2 * lucky < runs:
            why[mine] = (
                f"only {lucky} of {runs} runs of {item!r} have a total effect of three times the paraphrase noise: to "
                "read T from them would be to choose the lucky ones"
            )
        else:
            why[mine & ~large] = "the total effect is under three times the paraphrase noise"
    if "answer_mass_source" in effects:
        mass = np.minimum(effects.answer_mass_source.to_numpy(), effects.answer_mass_target.to_numpy())
        why[~(mass >= LEAST_MASS)] = "the answers have next to no probability: the model would say something else"
    return why


def _places(effects: xr.Dataset, axis: str) -> dict[str, object]:
    """On positions: the segment, and the token where all pairs agree on it ("" elsewhere)."""
    if axis == "segment":
        return {}
    out: dict[str, object] = {name: effects[name] for name in ("segment",) if name in effects.coords}
    if "token" in effects.coords:
        columns = [set(column) for column in effects.token.to_numpy().T]
        out["token"] = ("position", np.array([c.pop() if len(c) == 1 else "" for c in columns], dtype=str))
    return out
