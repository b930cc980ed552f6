"""T, transfer: how much of a persona's behaviour its activations carry over, at every cell of a patching sweep.

T = (patched − target) / (source − target): 0, the patch did nothing; 1, it brought the source's answers with it. Denoising
(into the run that lacks the behaviour) and noising are kept apart: where backups exist they disagree. A ratio over a small
total effect explodes, so pairs whose total effect is under three paraphrase SDs are left out, and when none is left T is not
identified. The same is computed for sources that should do nothing, on the scale of the real pairs.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from selfrep.errors import SelfrepError
from selfrep.estimands import stats
from selfrep.estimands.items import GATE

Array = np.ndarray


def transfer(
    effects: xr.Dataset,
    controls: xr.Dataset | None = None,
    behaviour: xr.Dataset | None = None,
    *,
    paraphrase_sd: float | None = None,
    n_bootstrap: int = 2000,
    n_flips: int = 5000,
    seed: int = 0,
) -> xr.Dataset:
    """The transfer map of a patching sweep.

    Args:
        effects: from `patch`, real pairs.
        controls: from `patch`, their control pairs, on the same cells.
        behaviour: from `observe`; gives the paraphrase SD of each item, for the gate.
        paraphrase_sd: that SD in nats, for all items, where there is no `behaviour`. With neither, pairs are not gated.

    Returns:
        Dataset over (direction, layer, position | segment): `estimate` (the ratio of sums over pairs), `low`, `high` (95 %,
        bootstrap over pairs of personas, numerator and denominator together; NaN with one pair), `p` (signs of the pairs of
        personas flipped), `control_paraphrase`, `control_persona`, `control_random` where these were run;
        `n_pairs`, `n_gated` (direction). NaN, with attrs `gate` and `reason`, where every pair is gated.

    Raises:
        SelfrepError: controls on other cells than the effects.
    """
    axis = "position" if "position" in effects.dims else "segment"
    if controls is not None and not all(np.array_equal(controls[d], effects[d]) for d in ("layer", axis)):
        raise SelfrepError("Controls are compared cell by cell; these were patched at other layers or places than the effects.")
    noise = _noise(effects, behaviour, paraphrase_sd)
    directions = list(dict.fromkeys(map(str, effects.direction.to_numpy())))
    kinds = [] if controls is None else sorted(set(map(str, controls.control.to_numpy())))
    rng = np.random.default_rng(seed)
    parts, n_pairs, n_gated, smallest = [], [], [], 1.0
    for direction in directions:
        mine = effects.direction.to_numpy() == direction
        kept = mine & (np.abs(effects.total_effect.to_numpy()) >= noise)
        n_pairs.append(len(set(_units(effects)[kept])))
        n_gated.append(int((mine & ~kept).sum()))
        fields = dict.fromkeys(("estimate", "low", "high", "p", *(f"control_{k}" for k in kinds)))
        shape = effects.patched.shape[1:]
        if kept.any():
            moved, total = _by_unit(effects, kept)
            fields["estimate"] = moved.sum(axis=0) / total.sum()
            if len(total) > 1:
                drawn = stats.resample(len(total), n_bootstrap, rng)
                ratios = np.tensordot(drawn, moved, 1) / (drawn @ total)[:, None, None]
                fields["low"], fields["high"] = stats.interval(np.moveaxis(ratios, 0, -1), stats.tail(len(total), len(total) - 1))
                flips = stats.sign_flips(len(total), n_flips, rng)
                fields["p"] = stats.permutation_test(moved.reshape(len(total), -1).T, flips, absolute=True).p.reshape(shape)
                smallest = min(smallest, 1 / len(flips))
            allowed = {_key(effects, i) for i in np.flatnonzero(kept)}
            for kind in kinds:
                assert controls is not None  # noqa: S101 - kinds come from it
                same = np.array([controls.control.values[i] == kind and _key(controls, i) in allowed for i in range(controls.sizes["pair"])])
                if same.any():
                    control_moved, control_total = _by_unit(controls, same)
                    fields[f"control_{kind}"] = control_moved.sum(axis=0) / control_total.sum()
        parts.append({k: np.full(shape, np.nan) if v is None else v for k, v in fields.items()})
    reason = ""
    if not any(n_pairs):
        reason = "the total effect of every pair is under three times the paraphrase noise: there is nothing to carry over"
    dims = ("direction", "layer", axis)
    places = {k: effects[k] for k in ("segment",) if axis == "position" and k in effects.coords}
    if axis == "position" and "token" in effects.coords:
        same_tokens = [set(column) for column in effects.token.to_numpy().T]
        places["token"] = ("position", np.array([s.pop() if len(s) == 1 else "" for s in same_tokens], dtype=str))
    return xr.Dataset(
        {k: (dims, np.stack([part[k] for part in parts])) for k in parts[0]}
        | {"n_pairs": ("direction", n_pairs), "n_gated": ("direction", n_gated)},
        coords={"direction": directions, "layer": effects.layer, axis: effects[axis]} | places,
        attrs={
            "site": effects.attrs["site"],
            "gate": "not identified" if reason else "identified",
            "reason": reason,
            "permuted": "the signs of the effects of pairs of personas",
            "smallest_p": smallest,
            "items": sorted(set(map(str, effects.item.to_numpy()))),
            "seed": seed,
        },
    )


def _noise(effects: xr.Dataset, behaviour: xr.Dataset | None, paraphrase_sd: float | None) -> Float[Array, " pair"]:
    """The least total effect that counts, for each pair (nats)."""
    if behaviour is None:
        return np.full(effects.sizes["pair"], GATE * (paraphrase_sd or 0.0))
    out = {}
    for item in set(map(str, effects.item.to_numpy())):
        mine = (behaviour.item.to_numpy() == item) & (behaviour.voice.to_numpy() == "you")
        if not mine.any():
            raise SelfrepError(f"The gate of T needs the answers to {item!r}; the behaviour given does not hold that item.")
        _, unit = np.unique(behaviour.persona.to_numpy()[mine], return_inverse=True)
        out[item] = float(stats.within_sd(behaviour.log_odds.to_numpy()[mine], unit))
    return np.array([GATE * out[str(item)] for item in effects.item.to_numpy()])


def _units(effects: xr.Dataset) -> Array:
    """[pair] the pair of personas, whatever the direction: the unit of inference."""
    both = zip(map(str, effects.source.to_numpy()), map(str, effects.target.to_numpy()), strict=True)
    return np.array(["|".join(sorted(names)) for names in both])


def _key(effects: xr.Dataset, i: int) -> tuple[str, str, str, int]:
    """What a control shares with its real pair."""
    return (
        str(effects.target.values[i]),
        str(effects.item.values[i]),
        str(effects.direction.values[i]),
        int(effects.target_paraphrase.values[i]),
    )


def _by_unit(effects: xr.Dataset, chosen: Bool[Array, " pair"]) -> tuple[Float[Array, "unit layer place"], Float[Array, " unit"]]:
    """Mean movement and mean total effect of each pair of personas, both with the sign that makes the total positive."""
    total = effects.total_effect.to_numpy().astype(float)
    moved = effects.patched.to_numpy().astype(float) - effects.target_metric.to_numpy().astype(float)[:, None, None]
    moved, total = moved * np.sign(total)[:, None, None], np.abs(total)
    units = _units(effects)
    names = [name for name in dict.fromkeys(units) if (chosen & (units == name)).any()]
    rows = [chosen & (units == name) for name in names]
    return np.stack([moved[r].mean(axis=0) for r in rows]), np.array([total[r].mean() for r in rows])
