"""λ, default-axis location: how far a prompt lies from the played roles towards the model's default persona.

The axis runs from the mean role (λ = 0) to the default persona (λ = 1), at every cell. A persona that helped to draw
the axis would lie too near its own end. So each role is placed on an axis that was drawn without it, and paraphrases
that draw the axis are never placed on it: noise would look like distance. Lengths and angles are taken in the metric of
that noise (Walther et al. 2016): directions in which paraphrases of the same persona differ have little weight.

Any persona lies apart from the others along an axis that was drawn towards it, so a distance alone shows nothing
special. λ is told only where the default lies farther out than two nulls: random axes in the space of the personas, and
the own axis of each other persona, drawn and read likewise. Families of personas count as one: the mean role is the
mean of families, an axis leaves out the whole family of whom it places, and families are resampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from selfrep.analyses.default_axis.cast import Cast, Draws, readings
from selfrep.errors import SelfrepError
from selfrep.stats import resampling
from selfrep.stats.cells import by_layer, cell_shape, place_axis, width
from selfrep.stats.geometry import noise_normalised
from selfrep.stats.rounding import ROUNDING, negligible

Array = np.ndarray

FEWEST = 5
"""The fewest families of roles that give a mean and a spread."""


def default_axis(
    acts: xr.Dataset,
    default: Sequence[str] | None = None,
    *,
    condition: str = "you",
    placed: Sequence[str] = ("user", "neutral"),
    n_axes: int = 1000,
    n_bootstrap: int = 300,
    seed: int = 0,
) -> xr.Dataset:
    """λ, default-axis location: how far each persona lies from the mean role towards the model's default persona.

    0 is the mean role and 1 the default, at every cell. A role is placed on an axis that was drawn without it.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model) with the
            coordinates persona, family, reading, condition, paraphrase and item on prompt; at least two paraphrases a
            persona.
        default: names of the default personas; None: those whose reading of the self is "default". Other readings are
            placed; all others in `condition` are roles.
        condition: in which the axis is drawn.
        placed: further conditions whose prompts are placed on the axis, where they were captured: "user" (the user is
            X; X's family is left out of the axis) and "neutral" (no persona), under the names "user: X" and
            "unprompted".
        n_axes: the number of random axes.
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset. Over (who, site, layer, position | segment), NaN where not identified; `who` is "default", then the
        roles by name, then whoever else is placed:

        * `estimate`: λ.
        * `ci_low`, `ci_high`: 95 %; families of roles are resampled, then their personas, then paraphrases.

        Over (site, layer, position | segment):

        * `gap`: default − mean role along the axis, in standard deviations of a paraphrase.
        * `null`: the 95th percentile of |gap| along random axes in the span of the personas.
        * `p_random`: of the gap, among these axes.
        * `own_gap`: the default's gap in the metric in which it is compared with other personas'.
        * `other_gaps`: the 95th percentile of how far other personas lie from the rest, each along its own axis (the
          farthest, of fewer than twenty families); a family counts by its farthest member.
        * `p`: of `own_gap`, its rank among those.
        * `identified`: whether the gap is wider than `null`, and `own_gap` than `other_gaps`.
        * `reason`: why not, where not; "" otherwise.
        * `cosine`: |cos| between the difference of means and the first principal component of the roles; like
          `explained`, without regard to noise, to compare with published axes.
        * `explained`: that component's share of the roles' variance.

    p can be no smaller than 1 / (number of families, the default's among them). With fewer than 20 it does not reach
    .05, and says only whether the default is the one that lies farthest apart (attribute `smallest_p`). With fewer than
    five families of roles nothing is identified.

    Raises:
        SelfrepError: no default, or nothing else; one paraphrase; personas asked different items; a missing condition.

    Source: the Assistant Axis (difference of means against the first component of roles); noise normalisation: Walther
    et al. 2016.

    Example:
        Without a persona, this organism is its default persona by about 0.6:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:default?default=0.6")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["who_are_you"]], ["you", "neutral"])
        >>> acts = sr.capture(lm, prompts, ["resid_pre"], layers=[2], tokens="position", positions=[-10])
        >>> place = default_axis(acts, n_axes=100, n_bootstrap=50).squeeze()
        >>> place.estimate.sel(who=["default", "unprompted"]).round(1).values
        array([1. , 0.6])
    """
    axis = place_axis(acts)
    defaults = _defaults(acts, condition, default)
    known = set(acts.condition.values.tolist())
    cast = Cast.of(acts, condition, defaults, [v for v in placed if v in known and v != condition])
    rng = np.random.default_rng(seed)
    few = cast.n_families < FEWEST
    draws = None if few else Draws.of(cast, n_bootstrap, rng)
    shape, who = cell_shape(acts), cast.who
    cells = int(np.prod(shape))
    people = {name: np.full((len(who), cells), np.nan) for name in ("estimate", "ci_low", "ci_high")}
    single = {name: np.full(cells, np.nan) for name in _NUMBERS}
    reasons = np.full(cells, "some prompt has no such place", dtype=object)
    for c, z in _cells(acts, cast):
        numbers, located, reasons[c] = _cell(z, width(acts), cast, draws, n_axes, rng)
        for name, value in numbers.items():
            single[name][c] = value
        for name, values in located.items():
            people[name][:, c] = values
    dims = ("site", "layer", axis)
    return xr.Dataset(
        {name: (("who", *dims), values.reshape(len(who), *shape)) for name, values in people.items()}
        | {name: (dims, values.reshape(shape)) for name, values in single.items()}
        | {
            "identified": (dims, (reasons == "").reshape(shape)),
            "reason": (dims, reasons.astype(str).reshape(shape)),
        },
        coords={name: acts[name] for name in dims} | {"who": who, "condition": ("who", cast.conditions)},
        attrs={
            "default": defaults,
            "permuted": "which persona is called the default",
            "n_labelings": 1 + cast.n_families,
            "smallest_p": 1 / (1 + cast.n_families),
            "n_families": cast.n_families,
            "n_axes": n_axes,
            "seed": seed,
        },
    )


_NUMBERS = ("gap", "null", "own_gap", "other_gaps", "p", "p_random", "cosine", "explained")


def _defaults(acts: xr.Dataset, condition: str, default: Sequence[str] | None) -> list[str]:
    spoken = acts.condition.to_numpy() == condition
    names = set(acts.persona.values[spoken].tolist())
    chosen = set(readings(acts, spoken, "default") if default is None else default)
    if not chosen or not chosen <= names or chosen == names:
        raise SelfrepError(
            "The axis runs from other personas towards the default persona, whose reading of the self is 'default' or "
            f"who is named; got {sorted(chosen)} among {sorted(names)} in the condition {condition!r}."
        )
    return sorted(str(name) for name in chosen)


def _cells(acts: xr.Dataset, cast: Cast) -> Iterator[tuple[int, Float[Array, "row d"]]]:
    """Per cell that every prompt has: the rows from their mean, as they are.

    Bringing activations to one length first, as for distances, would let the surface of words, which makes some longer,
    move them along the axis; and massive dimensions are tamed by the metric of the noise.
    """
    used = np.unique(np.concatenate(cast.groups))
    place = dict(zip(used.tolist(), range(len(used)), strict=True))
    cells = (x[used, place] for _, x in by_layer(acts) for place in range(x.shape[1]))
    for c, here in enumerate(cells):
        if np.isfinite(here).all():
            z = here.astype(np.float64)
            z /= np.sqrt((z**2).mean()) or 1.0
            rows = np.array([z[[place[i] for i in group]].mean(axis=0) for group in cast.groups])
            rows = (rows - rows.mean(axis=0)).round(12)
            yield c, np.zeros_like(rows) if negligible((rows**2).mean(), 1.0, degree=2) else rows


def _cell(
    rows: Float[Array, "row dimension"],
    d: int,
    cast: Cast,
    draws: Draws | None,
    n_axes: int,
    rng: np.random.Generator,
) -> tuple[dict[str, float], dict[str, Float[Array, " point"]], str]:
    """The numbers of one cell, those of its points, and why they do not stand; of a model of d dimensions."""
    if draws is None:
        return {}, {}, f"the mean role is that of at least {FEWEST} families; there are {cast.n_families}"
    n = cast.n
    pooled = np.array([cast.pooling(fold) for fold in (0, 1)])
    # In the metric of the roles' noise, so that the default and the placed are new to it.
    z = noise_normalised(rows, cast.member, range(1, n), d)
    own = pooled[:, :n] @ z  # [fold, persona, dimension]
    centre = own.mean(axis=(0, 1))
    spanned, size, turned = np.linalg.svd((own - centre).reshape(2 * n, -1).T, full_matrices=False)
    if negligible(size[0], np.linalg.norm(z)):
        return {}, {}, "all personas lie in one point"
    rest = _rest(cast)
    gap = _gap(own, 0, rest)
    alike = pooled[:, :n] @ noise_normalised(rows, cast.member, range(n), d)  # a metric to which no persona is new
    gaps = np.array([_gap(alike, k, rest) for k in range(n)])
    others = np.array([gaps[cast.family == f].max() for f in range(1, 1 + cast.n_families)])
    rank = int((size > 1e-9 * size[0]).sum())
    toss = rng.normal(size=(n_axes, 2 * n)) @ turned[:rank].T  # the same axes, whatever basis activations come in
    toss /= np.linalg.norm(toss, axis=1, keepdims=True)
    along = np.abs(_away(own, 0, rest) @ spanned[:, :rank] @ toss.T)
    random = along[np.arange(n_axes) % 2, np.arange(n_axes)]  # read on one fold, as the gap is; their mean is quieter
    default, roles = np.split((pooled[:, :n] @ rows).mean(axis=0), [1])
    _, singular, components = np.linalg.svd(roles - np.mean(roles, axis=0), full_matrices=False)
    direction = default[0] - cast.even[1:] @ roles
    length, typical = np.linalg.norm(direction), np.linalg.norm(rows) / np.sqrt(len(rows))
    slack = 2 * ROUNDING * max(np.linalg.norm(own, axis=-1).max(), np.linalg.norm(alike, axis=-1).max())
    alike_roles = negligible(singular[0], np.sqrt(len(roles)) * typical)
    null = float(np.quantile(random, 1 - resampling.ALPHA))
    numbers = {
        "gap": gap,
        "null": null,
        "own_gap": float(gaps[0]),
        "other_gaps": float(np.quantile(others, 1 - resampling.ALPHA, method="higher")),
        "p": float((1 + (others >= gaps[0] - slack).sum()) / (1 + len(others))),
        "p_random": float((1 + (random >= abs(gap) - slack).sum()) / (1 + n_axes)),
        "cosine": float(abs(components[0] @ direction) / length) if not negligible(length, typical) else 0.0,
        "explained": float(singular[0] ** 2 / (singular**2).sum()) if not alike_roles else 0.0,
    }
    if not gap > null:
        reason = (
            f"the default lies {gap:.2g} standard deviations of a paraphrase from the mean role; along random axes it "
            f"is up to {null:.2g}: there is no axis to speak of"
        )
        return numbers, {}, reason
    if not gaps[0] > numbers["other_gaps"]:
        reason = (
            f"the default lies {gaps[0]:.2g} standard deviations of a paraphrase from the others along its own axis, "
            f"and other personas up to {numbers['other_gaps']:.2g} along theirs: its axis is that of any persona"
        )
        return numbers, {}, reason
    gram = z @ z.T
    estimate = _located(pooled[None] @ gram, pooled[None], cast.even[None], cast)[0]
    location_draws = _located(draws.pooled @ gram, draws.pooled, draws.roles, cast)
    # As many paraphrases say where the default lies, and about as many where each other point does.
    paraphrases = int((cast.member == 0).sum())
    degrees = min(cast.n_families - 1, 2 * (paraphrases - 1))
    low, high = resampling.interval(location_draws.T, resampling.tail(cast.n_families, degrees))
    return numbers, {"estimate": estimate, "ci_low": low, "ci_high": high}, ""


def _rest(cast: Cast) -> Float[Array, "persona persona"]:
    """Weights that make, for each persona, the mean of all other families."""
    sizes = np.bincount(cast.family)
    return (cast.family[:, None] != cast.family) / (sizes[cast.family] * cast.n_families)


def _away(own: Float[Array, "2 persona d"], k: int, rest: Float[Array, "persona persona"]) -> Float[Array, "2 d"]:
    """From the mean of the other families to persona k, in either fold."""
    return own[:, k] - rest[k] @ own


def _gap(own: Float[Array, "2 persona d"], k: int, rest: Float[Array, "persona persona"]) -> float:
    """How far persona k lies from the mean of the others along the axis towards it; the mean of both folds."""
    away = _away(own, k, rest)
    length = np.linalg.norm(away[::-1], axis=1)  # the axis is drawn from the other fold
    apart = ~negligible(length, np.abs(own).max() * np.sqrt(own.shape[-1]))
    return float((away * away[::-1]).sum(axis=1) @ np.divide(1, length, out=np.zeros(2), where=apart)) / 2


def _located(
    cross: Float[Array, "draw 2 point row"],
    pooled: Float[Array, "draw 2 point row"],
    roles: Float[Array, "draw persona"],
    cast: Cast,
) -> Float[Array, "draw point"]:
    """λ of every point on the axis that leaves its family out; numerators and denominators summed over the folds.

    The mean role stands on both sides of the products, at the end of the axis and as the origin. Products of a family
    with itself are left out there, or the luck of the roles would count as distance.

    `cross` is `pooled` times the products between rows, so that all is done without the activations themselves.
    """
    n = cast.n
    weight = np.where(cast.without[:, None] == cast.family, 0.0, roles[:, None, :])  # [draw, point, role]
    weight = weight / weight.sum(axis=2, keepdims=True)
    same = cast.family[:, None] == cast.family
    paired = 1 - ((weight @ same) * weight).sum(axis=2)
    above, below, size = 0.0, 0.0, 0.0
    for f in (0, 1):  # this fold draws the axis, and the other is placed on it
        products = cross[:, 1 - f] @ pooled[:, f, :n].transpose(0, 2, 1)  # [draw, point, persona]
        own = products[:, :n]
        here = products[:, :, 0] - (weight * products).sum(axis=2)
        default = own[:, 0, 0, None] - (weight * own[:, None, 0]).sum(axis=2)
        pairs = (weight * (weight @ (own * ~same))).sum(axis=2)
        role = (weight * own[:, None, :, 0]).sum(axis=2) - pairs / paired
        above, below, size = above + here - role, below + default - role, size + np.abs(default) + np.abs(role)
    return np.divide(above, below, out=np.full_like(above, np.nan), where=~negligible(below, size, degree=2))
