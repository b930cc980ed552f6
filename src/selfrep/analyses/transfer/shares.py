"""T of one sweep: the share that is carried over at each cell, by direction, from the pairs that may be divided by.

A ratio over a small total effect explodes, so runs whose total effect is under three paraphrase SDs are left out. Where
that is most runs of an item, all of its runs are: among many runs without an effect, a few seem to have one by luck.
Without any run left, T is not identified; with one pair left, its T stands, and says nothing of others.

Pairs count by families: the runs of a pair are averaged, then the pairs of the same two families.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import xarray as xr

from selfrep.analyses.transfer.units import Units, ends
from selfrep.errors import SelfrepError
from selfrep.stats import permutation, ratios, resampling
from selfrep.stats.cells import place_axis
from selfrep.stats.gates import GATE, LEAST_MASS
from selfrep.stats.rounding import negligible

Array = np.ndarray

FEW = 6
"""With fewer units no bootstrap percentile is far enough out: n values span their mean with chance 1 − 2^(1−n)."""
FACT = "fact"
"""The kind of control that is about no persona: it has a total effect and a gate of its own."""
SILENT = "the total effect is under three times the paraphrase noise"


def shares(
    effects: xr.Dataset,
    controls: xr.Dataset | None,
    noise: Mapping[str, float],
    *,
    n_bootstrap: int,
    n_flips: int,
    seed: int,
) -> xr.Dataset:
    """T at every cell of a sweep over layers × positions or segments.

    Args:
        effects: `patched` (pair, layer, position | segment), `target_metric`, `source_metric` and `total_effect`
            (pair), in nats; coordinates `source`, `target`, `item`, `direction`, and the families where they are known.
        controls: the same for control pairs, on the same cells.
        noise: the paraphrase SD of each item, nats.
        n_bootstrap, n_flips, seed: as in `selfrep.transfer`.

    Returns:
        see `selfrep.transfer`.
    """
    axis = place_axis(effects)
    why = _gates(effects, noise)
    control_why = None if controls is None else _gates(controls, noise)
    kinds = [] if controls is None else sorted(set(map(str, controls.control.to_numpy())))
    rng = np.random.default_rng(seed)
    parts: list[dict[str, object]] = []
    smallest = 1.0
    directions = list(dict.fromkeys(map(str, effects.direction.to_numpy())))
    for direction in directions:
        mine = effects.direction.to_numpy() == direction
        kept = mine & (why == "")
        maps = dict.fromkeys(
            ("estimate", "ci_low", "ci_high", "p", *(f"control_{k}" for k in kinds)),
            np.full(effects.patched.shape[1:], np.nan),
        )
        units = Units.of(effects, kept)
        if len(units.total):
            estimates, least = _estimates(units, n_bootstrap, n_flips, rng)
            maps |= estimates
            smallest = min(smallest, least)
        for kind in kinds:
            if controls is None or control_why is None:
                break
            chosen = (control_why == "") & (controls.direction.to_numpy() == direction)
            beside = Units.of(controls, chosen & (controls.control.to_numpy() == kind))
            if len(beside.total) and len(units.total):
                maps[f"control_{kind}"] = beside.share()
        n_pairs = len(set(ends(effects, kept)))
        counts = {"n_pairs": n_pairs, "n_units": len(units.total), "n_runs": int(mine.sum())}
        counts["n_gated"] = int((mine & ~kept).sum())
        of_pairs = len(set(ends(effects, mine)))
        parts.append(
            {**maps, **counts, "left_out": _listed(why[mine]), "reason": _lacking(why[mine], n_pairs, of_pairs, units)}
        )
    reasons = [str(part["reason"]) for part in parts]
    identified = "" in reasons
    cell = ("direction", "layer", axis)
    stacked = {name: np.stack([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    return xr.Dataset(
        {name: (cell if values.ndim == len(cell) else "direction", values) for name, values in stacked.items()},
        coords={"direction": directions, "layer": effects.layer, axis: effects[axis]} | _places(effects, axis),
        attrs={
            "site": effects.attrs["site"],
            "identified": identified,
            "reason": "" if identified else "; ".join(dict.fromkeys(reasons)),
            "permuted": "the signs of the effects of pairs of personas (p tests T = 0: read T beside its controls)",
            "smallest_p": smallest,
            "items": sorted(set(map(str, effects.item.to_numpy()))),
            "facts_left_out": "; ".join(_facts_left_out(controls, control_why)),
            "seed": seed,
        },
    )


def paraphrase_noise(
    effects: xr.Dataset, controls: xr.Dataset | None, scores: xr.Dataset | None, paraphrase_sd: float | None
) -> dict[str, float]:
    """The paraphrase SD of each item (nats); 0 where nothing is known.

    Raises:
        SelfrepError: an item that `scores` lacks.
    """
    asked = [part.item.to_numpy() for part in (effects, controls) if part is not None]
    items = sorted(set(map(str, np.concatenate(asked))))
    if scores is None:
        return dict.fromkeys(items, paraphrase_sd or 0.0)
    out = {}
    for item in items:
        mine = (scores.item.to_numpy() == item) & np.isin(scores.condition.to_numpy(), ("you", FACT))
        if not mine.any():
            raise SelfrepError(f"The gate of T needs the answers to {item!r}; the scores hold none of that item.")
        _, unit = np.unique(scores.persona.to_numpy()[mine], return_inverse=True)
        out[item] = float(resampling.within_sd(scores.log_odds.to_numpy()[mine], unit))
    return out


def _gates(effects: xr.Dataset, noise: Mapping[str, float]) -> Array:
    """[pair] why a run cannot be part of a ratio; "" where it can."""
    least = GATE * np.array([noise[str(item)] for item in effects.item.to_numpy()])
    total = np.abs(effects.total_effect.to_numpy())
    why = np.full(len(total), "", dtype=object)
    largest = np.maximum(np.abs(effects.source_metric.to_numpy()), np.abs(effects.target_metric.to_numpy()))
    large = (total >= least) & ~negligible(total, largest)
    for item in set(map(str, effects.item.to_numpy())):
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
            why[mine & ~large] = SILENT
    if "answer_mass_source" in effects:
        mass = np.minimum(effects.answer_mass_source.to_numpy(), effects.answer_mass_target.to_numpy())
        why[~(mass >= LEAST_MASS)] = "the answers have next to no probability: the model would say something else"
    return why


def _listed(why: Array) -> str:
    """The reasons of the runs that are left out, each with their number."""
    return "; ".join(f"{n} since {reason}" for reason, n in Counter(filter(None, why.tolist())).items())


def _lacking(why: Array, n_pairs: int, of_pairs: int, units: Units) -> str:
    """Why T is not identified in a direction, "" where it is."""
    if n_pairs == 0:
        return "; ".join(sorted(set(why.tolist())))
    if n_pairs == 1:
        left_out = f", of {of_pairs}" if of_pairs > 1 else ""
        return f"one pair of personas is left{left_out}, which tells nothing of others"
    if units.independent() == 1:
        return f"the {n_pairs} pairs that are left are of one family, which counts once"
    return ""


def _facts_left_out(controls: xr.Dataset | None, why: Array | None) -> list[str]:
    """Each fact that is not part of its control, with the reason."""
    if controls is None or why is None:
        return []
    facts = controls.control.to_numpy() == FACT
    silent = dict(zip(map(str, controls.item.to_numpy()[facts]), why[facts].tolist(), strict=True))
    return [f"{item.removeprefix(f'{FACT}: ')}: {reason}" for item, reason in silent.items() if reason]


def _estimates(
    units: Units, n_bootstrap: int, n_flips: int, rng: np.random.Generator
) -> tuple[dict[str, Array], float]:
    """The maps of one direction from its units, and the smallest p these can give."""
    maps = {"estimate": units.share()}
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
    maps["p"] = permutation.permutation_test(table, flips, absolute=True, scale=units.scale).p.reshape(
        maps["estimate"].shape
    )
    if len(factors) == 1 and n < FEW:
        maps["ci_low"], maps["ci_high"] = ratios.ratio_interval(units.movement, units.total)
    else:
        weights = units.resampled(factors, n_bootstrap, rng)
        draws = np.tensordot(weights, units.movement, 1) / (weights @ units.total)[:, None, None]
        maps["ci_low"], maps["ci_high"] = resampling.interval(np.moveaxis(draws, 0, -1), resampling.tail(n, n - 1))
    return maps, 1 / len(flips)


def _places(effects: xr.Dataset, axis: str) -> dict[str, object]:
    """On positions: the segment, and the token where all pairs agree on it ("" elsewhere)."""
    if axis == "segment":
        return {}
    out: dict[str, object] = {name: effects[name] for name in ("segment",) if name in effects.coords}
    if "token" in effects.coords:
        columns = [set(column) for column in effects.token.to_numpy().T]
        out["token"] = ("position", np.array([c.pop() if len(c) == 1 else "" for c in columns], dtype=str))
    return out
