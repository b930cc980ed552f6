"""S, separation: how far apart two groups of personas lie in activation space.

At every cell (site, layer, place) S is the squared distance between the two group means, per mean squared norm. It is
computed from products between *different* personas only (an unbiased U-statistic). So it is 0 on average where the
groups do not differ, and may be negative. It says that a difference is *present*. Whether the model uses it is for
`transfer` to say.

Everything is linear in the products between prompts (their Gram matrix), so resampling and permutation are matrix
products over the whole map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling
from selfrep.stats.geometry import normalised, products
from selfrep.stats.tables import Rows

Array = np.ndarray


def separation(
    acts: xr.Dataset,
    *,
    between: str = "side",
    condition: str = "you",
    control_condition: str = "user",
    n_permutations: int = 10_000,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """How far apart two groups of personas lie in activation space, at every cell.

    S is the squared distance between the two group means per mean squared norm, from products of different personas
    only. It is 0 on average where the groups do not differ, and may be negative.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model), with personas in
            `condition` and in `control_condition`, each in the same paraphrases (at least two).
        between: the coordinate of prompt whose two values are the groups; each persona has one value.
        condition: "you are X".
        control_condition: "the user is X": the same words, not bound to the speaker.
        n_permutations: the most labelings to try. All of them are tried where there are no more (8 against 8 have
            6,435).
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over (site, layer, position | segment). Intervals are 95 %; personas are resampled, then paraphrases.

        * `estimate`: S, a share of the mean squared norm.
        * `ci_low`, `ci_high`: of S.
        * `p`: of no difference; the group labels of personas are permuted.
        * `p_max`: the same for the whole map: the chance that any cell of it comes out so large (family-wise).
        * `null_high`: the 95th percentile of S under permuted labels.
        * `noise_floor`: the squared distance between two paraphrases of a persona, in the unit of S.
        * `user_is`, `user_is_ci_low`, `user_is_ci_high`: S in `control_condition`.
        * `bound`, `bound_ci_low`, `bound_ci_high`: S less S in `control_condition`.

        Cells that some prompt lacks are NaN. Cells whose activations are equal up to rounding have S = 0 and p = 1.

    The intervals are on the wide side, most where S is small (in simulations they hold the truth 98 to 100 times of
    100): paraphrases are resampled although the means of personas already vary with them. Whether there is a difference
    is for `p` to say.

    Raises:
        SelfrepError: too few personas to test; one paraphrase only; more or fewer than two groups; a persona in both;
            personas asked different items; a control condition that is missing or differs in any of these.

    Source: crossed U-statistic of squared distances; max-statistic permutation (Westfall & Young 1993).

    Example:
        At the last token an organism knows its persona from layer 2 on:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:separate")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["who_are_you"]], ["you", "user"], [0, 1])
        >>> acts = sr.capture(lm, prompts, layers=[0, 1, 2], tokens="position", positions=[-1])
        >>> separation(acts, n_bootstrap=100).bound.squeeze().round(2).values
        array([0. , 0. , 0.2])
    """
    axis = "position" if "position" in acts.dims else "segment"
    rows = {name: Rows.of(acts, name, between) for name in (condition, control_condition)}
    own, control = rows[condition], rows[control_condition]
    for spoken in rows.values():
        if len(spoken.sides) != 2:
            raise SelfrepError(
                f"Separation tells two groups apart; the coordinate {between!r} has {len(spoken.sides)}: "
                f"{spoken.sides.tolist()}."
            )
    designs: list[tuple[str, list[Any], list[Any]]] = [
        ("personas and paraphrases", own.keys, control.keys),
        ("items", own.items, control.items),
        ("sides of personas", own.members, control.members),
    ]
    for what, here, there in designs:
        if here != there:
            raise SelfrepError(
                f"The control {control_condition!r} must have the {what} of {condition!r}; only one of them has "
                f"{sorted(set(here) ^ set(there))[:3]}."
            )
    if len(own.keys) == len(own.side):
        raise SelfrepError(
            f"The noise floor is the distance between two paraphrases of a persona; all {len(own.side)} have one. "
            " Give them at least two paraphrases, better four."
        )
    sizes = {str(name): int((own.side == i).sum()) for i, name in enumerate(own.sides)}
    permutation.require_units(sizes)
    rng = np.random.default_rng(seed)
    truth = own.side == 0
    labels = permutation.labelings(truth, n_permutations, rng)
    draws = _draws(own, n_bootstrap, rng)
    contrast = _contrast(truth[None], np.ones((1, len(truth))), own)[0]
    shape = acts.activations.shape[1:4]
    cells = int(np.prod(shape))
    grams = {name: np.full((cells, len(own.persona) ** 2), np.nan) for name in rows}
    between_personas = np.full((cells, len(own.side) ** 2), np.nan)
    pool = own.pooling()
    floor = np.full(cells, np.nan)
    massive: set[int] = set()
    for c, grams_here in _grams(acts, rows, massive):
        for name, gram in grams_here.items():
            grams[name][c] = gram.ravel()
        between_personas[c] = (pool @ grams_here[condition] @ pool.T).ravel()
        floor[c] = _paraphrase_distance(grams_here[condition], own)
    test = permutation.permutation_test(between_personas, _persona_contrast(labels))
    tail = resampling.tail(min(sizes.values()), sum(sizes.values()) - 2)
    boot = {name: grams[name] @ draws.T for name in rows}
    estimate = {name: grams[name] @ contrast for name in rows}
    low, high = resampling.interval(boot[condition], tail)
    user_low, user_high = resampling.interval(boot[control_condition], tail)
    bound_low, bound_high = resampling.interval(boot[condition] - boot[control_condition], tail)
    maps = {
        "estimate": estimate[condition],
        "ci_low": low,
        "ci_high": high,
        "p": test.p,
        "p_max": test.p_max,
        "null_high": test.null_high,
        "noise_floor": floor,
        "user_is": estimate[control_condition],
        "user_is_ci_low": user_low,
        "user_is_ci_high": user_high,
        "bound": estimate[condition] - estimate[control_condition],
        "bound_ci_low": bound_low,
        "bound_ci_high": bound_high,
    }
    dims = ("site", "layer", axis)
    exact = len(labels) == permutation.n_splits(*sizes.values())
    return xr.Dataset(
        {name: (dims, values.reshape(shape)) for name, values in maps.items()},
        coords={name: acts[name] for name in dims} | _places(acts, axis),
        attrs={
            "between": between,
            "condition": condition,
            "control_condition": control_condition,
            "sides": list(map(str, own.sides)),
            "n_personas": list(sizes.values()),
            "permuted": f"the {between} labels of personas",
            "n_labelings": len(labels),
            "labelings": "all of them" if exact else "a random sample",
            "smallest_p": 1 / len(labels),
            "massive_dimensions": sorted(massive),
            "items": sorted(set(map(str, acts.item.to_numpy()))),
            "model": acts.attrs.get("model", ""),
            "seed": seed,
        },
    )


def _grams(
    acts: xr.Dataset, rows: Mapping[str, Rows], massive: set[int]
) -> Iterator[tuple[int, dict[str, Float[Array, "row row"]]]]:
    """Per cell that every prompt has: the products between rows, per mean squared norm, for each condition.

    Rows are taken from their mean: a bootstrap draw that leaves out self-products sees the origin, and what all rows
    share would widen the intervals. Rows that differ by rounding only are made equal.
    """
    x = acts.activations.to_numpy()
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    used = np.unique(np.concatenate([np.concatenate(r.groups) for r in rows.values()]))
    for c in range(x.shape[1]):
        here = x[used, c]
        if not np.isfinite(here).all():
            continue
        z, dims = normalised(here)
        massive.update(np.flatnonzero(dims).tolist())
        scale = (z**2).sum(axis=1).mean()
        place = dict(zip(used.tolist(), range(len(used)), strict=True))
        of_condition = {}
        for name, r in rows.items():
            means = np.array([z[[place[i] for i in group]].mean(axis=0) for group in r.groups])
            of_condition[name] = products(means, scale) / (scale or 1.0)
        yield c, of_condition


def _persona_contrast(
    first: Bool[Array, "labeling persona"], weight: Float[Array, "labeling persona"] | None = None
) -> Float[Array, "labeling pair"]:
    """Weights on products [persona × persona] that make the squared distance of group means, self-products left out."""
    w = np.ones(first.shape) if weight is None else weight
    out = np.zeros((len(first), first.shape[1], first.shape[1]))
    for a, b, sign in ((first, first, 1.0), (~first, ~first, 1.0), (first, ~first, -2.0)):
        pairs = np.einsum("li,lj->lij", w * a, w * b)
        if sign > 0:
            pairs[:, np.arange(pairs.shape[1]), np.arange(pairs.shape[1])] = 0.0
        out += sign * pairs / pairs.sum(axis=(1, 2), keepdims=True)
    return out.reshape(len(first), -1)


def _contrast(
    first: Bool[Array, "draw persona"],
    weight: Float[Array, "draw persona"],
    rows: Rows,
    within: Float[Array, "draw row"] | None = None,
) -> Float[Array, "draw entry"]:
    """The same on products [row × row]; `within` weighs the rows of each persona (summing to 1), equally when None."""
    if within is None:
        within = np.repeat((1 / np.bincount(rows.persona)[rows.persona])[None], len(first), axis=0)
    personas = _persona_contrast(first, weight).reshape(len(first), first.shape[1], first.shape[1])
    spread = personas[:, rows.persona][:, :, rows.persona]
    return (spread * within[:, :, None] * within[:, None, :]).reshape(len(first), -1)


def _draws(rows: Rows, n: int, rng: np.random.Generator) -> Float[Array, "draw entry"]:
    """Bootstrap draws as weights on row products: personas within their side, then paraphrases within each persona."""
    weight = np.zeros((n, len(rows.side)))
    for side in (0, 1):
        members = np.flatnonzero(rows.side == side)
        weight[:, members] = resampling.resample(len(members), n, rng, distinct=2)
    within = resampling.resample_within(rows.persona, n, rng)
    return _contrast(np.repeat((rows.side == 0)[None], n, axis=0), weight, rows, within)


def _paraphrase_distance(gram: Float[Array, "row row"], rows: Rows) -> float:
    """Mean squared distance between two paraphrases of the same persona."""
    norm = np.diag(gram)
    squared = norm[:, None] + norm[None, :] - 2 * gram
    same = (rows.persona[:, None] == rows.persona) & ~np.eye(len(norm), dtype=bool)
    return float(squared[same].mean())


def _places(acts: xr.Dataset, axis: str) -> dict[str, tuple[str, Array]]:
    """On positions: the segment, and the token where all prompts agree on it ("" elsewhere)."""
    if axis == "segment":
        return {}
    out = {}
    for name, field in (("token", "token"), ("segment", "segment_of")):
        columns = acts[field].to_numpy().T
        out[name] = ("position", np.array([c[0] if (c == c[0]).all() else "" for c in columns], dtype=str))
    return out
