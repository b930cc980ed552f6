"""Δ, divergence: how far each persona lies from the model's own self, in activation space.

The self has up to three readings, each a reference of its own: *unprompted* (no persona at all), *default* (the persona
the weights were tuned to be, by name) and *reductionist* (a large language model). At every cell (site, layer, place)
Δ is the squared distance between the means of a persona and of a reading, per mean squared norm. Only products of
prompts with different surrounding sentences count (`selfrep.stats.distances`), so it is 0 on average where there is no
difference, and may be negative.

A distance by itself is neither large nor small. Three of the same kind stand beside it: two personas of one side, the
same words said of the user, and two halves of the neutral texts.

All of it is linear in the products between prompts (their Gram matrix), so a bootstrap draw costs next to nothing.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats as scipy_stats

from selfrep.analyses.divergence.cast import READINGS, Cast
from selfrep.analyses.divergence.draws import Draws, Products
from selfrep.analyses.divergence.onset import onset
from selfrep.stats.cells import by_layer, cell_shape, place_axis, width
from selfrep.stats.distances import crossed_distances
from selfrep.stats.families import FEWEST
from selfrep.stats.geometry import standardised
from selfrep.stats.resampling import ALPHA
from selfrep.stats.rounding import ROUNDING, negligible
from selfrep.stats.rows import agreed_places

Array = np.ndarray


def divergence(
    acts: xr.Dataset,
    *,
    condition: str = "you",
    control_condition: str = "user",
    n_bootstrap: int = 500,
    seed: int = 0,
) -> xr.Dataset:
    """How far each persona lies from the model's own self, in each of its readings, at every cell.

    Δ is the squared distance between the means of a persona and of a reading of the self per mean squared norm, from
    products of prompts in different frames (surrounding sentences) only. What a frame does to all is taken off first,
    which changes nothing where everybody is there in every frame.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model), with personas in
            `condition` and the neutral texts, each in at least two frames; and, as a scale, in `control_condition`. All
            prompts are put on one scale together (`selfrep.stats.geometry.standardised`).
        condition: "you are X".
        control_condition: "the user is X": the same words, not bound to the speaker.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset; Δ and all that is compared with it are shares of the mean squared norm, and intervals are 95 %.
        `reference` is "unprompted", "default" or "reductionist", as far as the data hold them. NaN where some prompt
        has no such place, and for the distance of a reading from itself.

        Over (reference, persona, site, layer, position | segment):

        * `estimate`, `ci_low`, `ci_high`: Δ; paraphrases of the persona and of the reading are resampled. There is no
          interval of fewer than three.
        * `crossnobis`, `crossnobis_ci_low`, `crossnobis_ci_high`: Δ in the metric of noise, per mean squared norm in
          that metric. It comes from paraphrases of other families, and is the same in every draw.
        * `rank`: the share of distances between two personas of one side that are smaller, 0 … 1.
        * `user_is`: Δ of the persona in `control_condition`.

        Over (reference, kind, site, layer, position | segment), averaged over the personas of each family and then over
        the families of a kind; a reading of the self is not counted among the personas that are compared with it:

        * `kind_estimate`, `kind_ci_low`, `kind_ci_high`: families, paraphrases and the texts of the reading are
          resampled. Of a single persona: its own interval.
        * `p`: that Δ is 0, one-sided, with families as units; of a single persona there is none.
        * `kind_crossnobis`, `kind_crossnobis_ci_low`, `kind_crossnobis_ci_high`, `kind_user_is`: averaged likewise.

        Over (reference, kind): `n_families`, and `reason`: why there is no interval; "" where there is.

        Over (reference, kind, site, position | segment), as shares of the depth (0 the first captured layer, 1 the
        last):

        * `onset`, `onset_ci_low`, `onset_ci_high`: from where on Δ stays at or above half of its final value; NaN where
          `onset_reason` says why.
        * `onset_crossings`: the share of draws in which Δ passes half of its final value more than once.

        Over (side, site, layer, position | segment): `within`: the mean distance of two personas of a side. Over (site,
        layer, position | segment): `halves`: the distance between two halves of the neutral texts, which is 0 but for
        noise; NaN with fewer than four.

        Of each persona: `persona_label`, `side_of`, `kind_of`, `family` and `reading`; of each kind `kind_label`, of
        each side `side_label`. `attrs["left_out"]`: the readings that the data do not hold.

    Raises:
        SelfrepError: fewer than two neutral texts; a persona in one frame only; conditions that were asked different
            items.

    Source: cross-validated squared distances (Walther et al. 2016).

    Example:
        An organism that is 0.6 of its default persona when nobody tells it who it is:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:default?default=0.6")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["who_are_you"]], ["you", "user", "neutral"])
        >>> acts = sr.capture(lm, prompts, ["resid_pre"], layers=[2], tokens="position", positions=[-10])
        >>> far = divergence(acts, n_bootstrap=50).squeeze()
        >>> of = far.estimate.sel(reference="unprompted")
        >>> bool(of.sel(persona="assistant") < of.sel(persona="nurse"))
        True
    """
    acts = standardised(acts)
    cast = Cast.of(acts, condition, control_condition)
    draws = Draws.of(cast, n_bootstrap, np.random.default_rng(seed))
    sites, layers, places = cell_shape(acts)
    sizes = {name: len(getattr(cast, plural)) for name, plural in _DIMS.items()}
    maps = {
        name: np.full([*(sizes[dim] for dim in dims), sites, layers, places], np.nan)
        for dims, names in _MAPS.items()
        for name in names
    }
    onsets = {name: np.full((*cast.kind_units.shape, sites, places), np.nan) for name in _ONSET}
    reasons = np.full((*cast.kind_units.shape, sites, places), "", dtype=object)
    curves = np.full((*cast.kind_units.shape, sites, places, layers, 1 + n_bootstrap), np.nan)
    for (s, layer), x in by_layer(acts):
        for place in range(places):
            if (rows := cast.rows(x[:, place])) is not None:
                numbers, curves[:, :, s, place, layer] = _cell(*rows, width(acts), cast, draws)
                for name, value in numbers.items():
                    maps[name][..., s, layer, place] = value
    depth = _depth(acts.layer.to_numpy())
    for at in np.ndindex(reasons.shape):
        found, reasons[at] = onset(depth, curves[at], int(cast.kind_units[at[:2]]))
        for name, share in found.items():
            onsets[name][at] = share
    return _labelled(acts, cast, maps, onsets, reasons).assign_attrs(
        condition=condition, control_condition=control_condition, seed=seed
    )


_DIMS = {"reference": "references", "persona": "names", "kind": "kinds", "side": "sides"}
_MAPS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("reference", "persona"): (
        "estimate", "ci_low", "ci_high", "crossnobis", "crossnobis_ci_low", "crossnobis_ci_high", "rank", "user_is",
    ),
    ("reference", "kind"): (
        "kind_estimate", "kind_ci_low", "kind_ci_high", "p", "kind_crossnobis", "kind_crossnobis_ci_low",
        "kind_crossnobis_ci_high", "kind_user_is",
    ),
    ("side",): ("within",),
    (): ("halves",),
}  # fmt: skip
_ONSET = ("onset", "onset_ci_low", "onset_ci_high", "onset_crossings")


def _depth(layers: Array) -> Float[Array, " layer"]:
    """0 at the first captured layer, 1 at the last."""
    return (layers - layers.min()) / max(1, layers.max() - layers.min())


def _cell(
    apart: Float[Array, "row dimension"], centre: Float[Array, " dimension"], d: int, cast: Cast, draws: Draws
) -> tuple[dict[str, Array], Float[Array, "reference kind draw"]]:
    """All numbers of one cell, and Δ of the kinds in every draw; of a model of d dimensions."""
    n, r, gram = len(cast.names), len(cast.references), apart @ apart.T
    framed = cast.within_frame @ gram @ cast.within_frame.T
    far = crossed_distances(framed, cast.groups, cast.apart)
    people = far[r : r + n, r : r + n]
    numbers, curves = _bounded(draws.distances(Products.of(framed, cast)), cast, draws)
    numbers["user_is"] = far[:r, r + n : r + 2 * n]
    share = draws.kinds[:, :, 0]
    numbers["kind_user_is"] = np.where(negligible(share, 1.0), 0.0, share * numbers["user_is"][:, None]).sum(axis=2)
    numbers["halves"] = far[-2, -1]
    pairs = [people[cast.same_side(side)] for side in cast.sides]
    numbers["within"] = np.array([distances.mean() for distances in pairs])
    if pairs:
        smaller = np.concatenate(pairs) < numbers["estimate"][..., None]
        numbers["rank"] = np.where(cast.is_self, np.nan, smaller.mean(axis=-1))
    whitened = Products.in_metric_of_noise(gram, apart @ centre, d, cast)
    if whitened is not None:
        numbers |= _bounded(draws.distances(whitened), cast, draws, "crossnobis")[0]
    return numbers, curves


def _bounded(
    drawn: Float[Array, "draw reference persona"], cast: Cast, draws: Draws, name: str = ""
) -> tuple[dict[str, Array], Float[Array, "reference kind draw"]]:
    """Δ of personas and of kinds with intervals, from all draws; and that of the kinds in every draw."""
    kinds = np.einsum("rkbp,brp->brk", draws.kinds, drawn)
    personas, _ = _with_interval(np.where(cast.is_self, np.nan, drawn), cast.persona_units, name)
    pooled, error = _with_interval(kinds, cast.kind_units, f"kind_{name}" if name else "kind")
    if not name:
        certainty = kinds[0] / np.maximum(error, ROUNDING**2)
        several = cast.n_families >= FEWEST
        pooled["p"] = np.where(several, scipy_stats.t.sf(certainty, np.maximum(cast.kind_units - 1, 1)), np.nan)
    return personas | pooled, kinds.transpose(1, 2, 0)


def _with_interval(
    values: Float[Array, draw * rest], units: Float[Array, "*rest"], name: str
) -> tuple[dict[str, Array], Float[Array, "*rest"]]:
    """The first draw, 95 % bounds from the spread of the others and Student's t, and its standard error; NaN without
    units."""
    n = np.where(units > 0, units, np.nan)
    error = values[1:].std(axis=0) * np.sqrt(n / (n - 1))
    reach = scipy_stats.t.ppf(1 - ALPHA / 2, n - 1) * error
    estimate = name if "crossnobis" in name else f"{name}_estimate".lstrip("_")
    ends = f"{name}_".lstrip("_")
    return {
        estimate: values[0],
        f"{ends}ci_low": values[0] - reach,
        f"{ends}ci_high": values[0] + reach,
    }, error


def _labelled(
    acts: xr.Dataset, cast: Cast, maps: dict[str, Array], onsets: dict[str, Array], reasons: Array
) -> xr.Dataset:
    axis = place_axis(acts)
    cell = ("site", "layer", axis)
    over = {name: (*dims, *cell) for dims, names in _MAPS.items() for name in names}
    pair = ("reference", "kind")
    return xr.Dataset(
        {name: (over[name], values) for name, values in maps.items()}
        | {name: ((*pair, "site", axis), values) for name, values in onsets.items()}
        | {
            "onset_reason": ((*pair, "site", axis), reasons.astype(str)),
            "n_families": (pair, cast.n_families),
            "reason": (pair, cast.reasons),
        },
        coords={name: acts[name] for name in cell}
        | agreed_places(acts)
        | {
            "reference": list(cast.references),
            "persona": cast.names,
            "kind": cast.kinds,
            "side": cast.sides,
            "side_of": ("persona", cast.side),
            "kind_of": ("persona", cast.kind),
            "persona_label": ("persona", cast.called),
            "family": ("persona", cast.family),
            "reading": ("persona", cast.reading),
            "kind_label": ("kind", [cast.label(kind) for kind in cast.kinds]),
            "side_label": ("side", [cast.label(side) for side in cast.sides]),
        },
        attrs={
            "left_out": [name for name in READINGS if name not in cast.references],
            "items": sorted(set(map(str, acts.item.to_numpy()))),
            "model": acts.attrs.get("model", ""),
        },
    )
