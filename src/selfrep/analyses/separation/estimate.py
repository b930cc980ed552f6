"""S, separation: how far apart two groups of personas lie in activation space.

At every cell (site, layer, place) S is the squared distance between the two group means, per mean squared norm. It is
computed from products between personas of *different* families only (an unbiased U-statistic). So it is 0 on average
where the groups do not differ, and may be negative. It says that a difference is *present*. Whether the model uses it
is for `transfer` to say.

Two more numbers keep S from being misread. How much of the difference is the words' own is a matter of direction, not
of length: the difference under "the user is X" is projected on that under "you are X". And sides whose means coincide
may still hold personas that are told apart, so the distance between two personas, each against each, stands beside S.

Everything is linear in the products between prompts (their Gram matrix), so resampling and permutation are matrix
products.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from selfrep.errors import SelfrepError
from selfrep.stats import gates, permutation, ratios, resampling
from selfrep.stats.cells import by_layer, cell_shape, place_axis
from selfrep.stats.crossed import Draws, family_distances, side_contrast
from selfrep.stats.families import Families
from selfrep.stats.geometry import centred, standardised
from selfrep.stats.labels import side_labels, two_sides
from selfrep.stats.rows import Rows, agreed_places

Array = np.ndarray

_BOUNDED = ("", "user_is_", "bound_share_", "condition_cosine_", "identity_")
_NUMBERS = (
    "estimate", "noise_floor", "same_side", "other_side", "user_is", "bound_share", "condition_cosine", "identity",
    *(f"{name}{end}" for name in _BOUNDED for end in ("ci_low", "ci_high")),
)  # fmt: skip


def separation(
    acts: xr.Dataset,
    *,
    sides: Sequence[str] | None = None,
    between: str = "side",
    condition: str = "you",
    control_condition: str = "user",
    n_permutations: int = 10_000,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """How far apart two groups of personas lie in activation space, at every cell.

    S is the squared distance between the two group means per mean squared norm, from products of different families
    only. It is 0 on average where the groups do not differ, and may be negative.

    Args:
        acts: from `selfrep.capture`: `activations` (prompt, site, layer, position | segment, d_model), with personas in
            `condition` and in `control_condition`, each in the same paraphrases (at least two). Personas of one
            `family` count as one. All prompts are put on one scale together (`selfrep.stats.geometry.standardised`).
        sides: which two groups; where None, the two that there are. Personas of no side are left out.
        between: the coordinate of prompt whose values are the groups; each persona has one value.
        condition: "you are X".
        control_condition: "the user is X": the same words, not bound to the speaker.
        n_permutations: the most labelings to try. All of them are tried where there are no more (8 against 8 have
            6,435).
        n_bootstrap: the number of bootstrap draws behind the intervals.
        seed: of the draws.

    Returns:
        Dataset over (site, layer, position | segment). Distances are squared, shares of the mean squared norm.
        Intervals are 95 %: families are resampled, then their personas, then paraphrases.

        * `estimate`: S.
        * `ci_low`, `ci_high`: of S; NaN with fewer than four families a side (attribute `unbounded` says so).
        * `p`: of no difference; the group labels of families are permuted. NaN where too few could ever reach .05
          (attribute `untestable` says so), as are `p_max` and `null_high`.
        * `p_max`: the same for the whole map: the chance that any cell of it comes out so large (family-wise).
        * `null_high`: the 95th percentile of S under permuted labels.
        * `user_is`, `user_is_ci_low`, `user_is_ci_high`: S in `control_condition`.
        * `bound_share`, `bound_share_ci_low`, `bound_share_ci_high`: the share of the difference d that is bound to the
          speaker, 1 − ⟨d_you, d_user⟩ / ⟨d_you, d_you⟩: 0, the same words about the user do it all; above 1, they do
          the reverse. NaN where S is not surely above 0.
        * `condition_cosine`, `condition_cosine_ci_low`, `condition_cosine_ci_high`: of the angle between d_you and
          d_user. NaN where one of them is not surely above 0.
        * `bound_reason`: why there is no bound share, where there is none; "" otherwise.
        * `identity`, `identity_ci_low`, `identity_ci_high`: the distance between two personas of different families,
          each against each; only families are resampled.
        * `same_side`, `other_side`: the same for two of one side (the measure of S: how far personas lie apart anyway)
          and for two of different sides.
        * `noise_floor`: the distance between two paraphrases of a persona, noise and all.
        * `identified`, `reason`: whether S is told here, and why not.

        Cells that some prompt lacks are NaN. Cells whose activations are equal up to rounding have S = 0 and p = 1.

    S may be 0 where personas differ: sides that are stored as "the first or the second, not both" (XOR) have equal
    means. `identity` is above 0 there.

    Raises:
        SelfrepError: one paraphrase only; other than two groups; a persona or a family in both; personas asked
            different items; a control condition that is missing or differs in any of these.

    Source: crossed U-statistics of squared distances; expanded percentiles (Hesterberg 2015) with Welch's degrees of
    freedom; Fieller 1954 for shares near a difference of 0; max-statistic permutation (Westfall & Young 1993).

    Example:
        Three quarters of what this organism's persona does are bound to the speaker:

        >>> import selfrep as sr
        >>> from selfrep.models import organisms
        >>> lm = sr.load_model("organism:lexical?binding=0.75")
        >>> personas, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> prompts = sr.make_prompts(personas, [battery["who_are_you"]], ["you", "user"], [0, 1])
        >>> acts = sr.capture(lm, prompts, ["resid_pre"], layers=[1], tokens="position", positions=[-10])
        >>> cell = separation(acts, n_bootstrap=100).squeeze()
        >>> round(float(cell.bound_share), 1)
        0.7
    """
    acts = standardised(acts)
    axis = place_axis(acts)
    two = two_sides(acts, sides, between)
    own, control = (Rows.of(acts, name, between, two) for name in (condition, control_condition))
    _require_twins(own, control, condition, control_condition)
    families = own.families()
    rng = np.random.default_rng(seed)
    view = _View.of(acts, own, control, families, n_bootstrap, rng)
    shape = cell_shape(acts)
    maps = {name: np.full(int(np.prod(shape)), np.nan) for name in _NUMBERS}
    why = np.full(maps["estimate"].shape, "some prompt has no such place", dtype=object)
    unbound = why.copy()
    table = np.full((len(why), len(families.first) ** 2), np.nan)
    for c, conditions, floor in _cells(acts, own, control):
        numbers, unbound[c] = view.cell(*conditions)
        for name, value in numbers.items():
            maps[name][c] = value
        maps["noise_floor"][c], why[c] = floor, view.alone
        table[c] = view.family_products(conditions[0] @ conditions[0].T).ravel()
    exact = permutation.n_splits(*families.sizes.values())
    n_labelings = 0
    tests = dict.fromkeys(("p", "p_max", "null_high"), maps["estimate"] * np.nan)
    if not families.untestable():
        labels = permutation.labelings(families.first, n_permutations, rng)
        n_labelings = len(labels)
        length = np.sqrt(np.einsum("cii->ci", table.reshape(len(table), len(families.first), -1)))
        size = np.maximum(length[:, :, None], length[:, None, :]).reshape(table.shape)  # a product of rows of length 1
        tests = permutation.permutation_test(table, side_contrast(labels), scale=size)._asdict()
    dims = ("site", "layer", axis)
    words = {"reason": why, "bound_reason": unbound}
    return xr.Dataset(
        {name: (dims, values.reshape(shape)) for name, values in (maps | tests).items()}
        | {name: (dims, values.astype(str).reshape(shape)) for name, values in words.items()}
        | {"identified": (dims, (why == "").reshape(shape))},
        coords={name: acts[name] for name in dims} | agreed_places(acts),
        attrs={
            "between": between,
            "condition": condition,
            "control_condition": control_condition,
            "sides": list(two),
            "side_labels": side_labels(acts, two),
            "n_personas": [int((own.side == i).sum()) for i in (0, 1)],
            "n_families": list(families.sizes.values()),
            "unbounded": families.unbounded(),
            "untestable": families.untestable(),
            "permuted": f"the {between} labels of families of personas",
            "n_labelings": n_labelings,
            "labelings": "all of them" if n_labelings == exact else "a random sample",
            "smallest_p": 1 / n_labelings if n_labelings else np.nan,
            "massive_dimensions": acts.attrs["massive_dimensions"],
            "items": sorted(set(map(str, acts.item.to_numpy()))),
            "model": acts.attrs.get("model", ""),
            "seed": seed,
        },
    )


def _require_twins(own: Rows, control: Rows, condition: str, control_condition: str) -> None:
    """Refuse a control with other rows, and personas without a second paraphrase."""
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


def _cells(
    acts: xr.Dataset, own: Rows, control: Rows
) -> Iterator[tuple[int, tuple[Float[Array, "row d"], Float[Array, "row d"]], float]]:
    """Per cell that every prompt has: the rows of both conditions in units of the root mean squared norm, and the noise
    floor.

    Rows are taken from the mean of their condition: a bootstrap draw that leaves out self-products sees the origin, and
    what all rows share would widen the intervals. Rows that differ by rounding only are made equal.
    """
    used = np.unique(np.concatenate(own.groups + control.groups))
    place = dict(zip(used.tolist(), range(len(used)), strict=True))
    cells = (x[used, place] for _, x in by_layer(acts) for place in range(x.shape[1]))
    for c, here in enumerate(cells):
        if not np.isfinite(here).all():
            continue
        z = here.astype(np.float64)
        scale = float((z**2).sum(axis=1).mean())
        of_own, of_control = (
            centred(np.array([z[[place[i] for i in group]].mean(axis=0) for group in rows.groups]), scale)
            / np.sqrt(scale or 1.0)
            for rows in (own, control)
        )
        yield c, (of_own, of_control), _paraphrase_distance(of_own, own)


def _paraphrase_distance(rows: Float[Array, "row d"], of: Rows) -> float:
    """Mean squared distance between two paraphrases of the same persona."""
    gram = rows @ rows.T
    norm = np.diag(gram)
    squared = norm[:, None] + norm[None, :] - 2 * gram
    same = (of.persona[:, None] == of.persona) & ~np.eye(len(norm), dtype=bool)
    return float(squared[same].mean())


@dataclass(frozen=True, eq=False)
class _View:
    """How every cell is looked at: by which families, in which draws.

    Attributes:
        pool: [family, row] weights that make the mean of each family.
        frame: [row] what surrounds the persona's description.
        draws: of families, personas and paraphrases; None where too few families bound nothing.
        alone: why S is not told, where a side has a single family; "" otherwise.
    """

    families: Families
    pool: Float[Array, "family row"]
    frame: Int[Array, " row"]
    draws: Draws | None
    alone: str

    @classmethod
    def of(
        cls, acts: xr.Dataset, own: Rows, control: Rows, families: Families, n: int, rng: np.random.Generator
    ) -> _View:
        frames = acts.frame if "frame" in acts.coords else acts.paraphrase
        frame = np.array([int(frames.values[group[0]]) for group in own.groups])
        draws = None if families.unbounded() else Draws.of(families, n, rng)
        single = [name for name, n in families.sizes.items() if n < 2]
        alone = f"S multiplies different families of a side, and {single[0]!r} has one" if single else ""
        return cls(families, families.pooling(), frame, draws, alone)

    def family_products(self, gram: Float[Array, "row row"]) -> Float[Array, "family family"]:
        """The products between the means of families."""
        return self.pool @ gram @ self.pool.T

    def cell(self, own: Float[Array, "row d"], control: Float[Array, "row d"]) -> tuple[dict[str, float], str]:
        """The numbers of one cell, and why there is no bound share."""
        gram = own @ own.T
        distances = family_distances(gram, self.families, self.frame)
        first, strangers = self.families.first, ~np.eye(len(distances), dtype=bool)
        alike = strangers & (first[:, None] == first)
        of_sides = [distances[alike & side].mean() for side in (first, ~first) if side.sum() > 1]
        out = {
            "identity": float(distances[strangers].mean()),
            "other_side": float(distances[first][:, ~first].mean()),
            "same_side": float(np.mean(of_sides)) if of_sides else np.nan,
        }
        if self.alone:
            return out, self.alone
        weights = side_contrast(first[None])[0]
        grams = {"": gram, "user_is": control @ control.T, "shared": own @ control.T}
        of_families = {name: self.family_products(g) for name, g in grams.items()}
        s, user, shared = (float(weights @ k.ravel()) for k in of_families.values())
        out |= {"estimate": s, "user_is": user}
        if self.draws is None:
            return out, self.families.unbounded()
        drawn = {name: self.draws.side_distances(g) for name, g in grams.items()}
        for name, prefix in (("", ""), ("user_is", "user_is_")):
            tail = self.families.tail(of_families[name] @ self.families.contrast())
            low, high = resampling.interval(drawn[name], tail)
            out |= {f"{prefix}ci_low": float(low), f"{prefix}ci_high": float(high)}
        sizes = self.families.sizes.values()
        # Draws see fewer different families than the data, and lie higher: their spread counts, and not their place.
        identity = np.array(out["identity"])
        low, high = resampling.spread_interval(identity, self.draws.mean_distances(distances), min(sizes))
        out |= {"identity_ci_low": float(low), "identity_ci_high": float(high)}
        if not _above_0(out["ci_low"], s):
            return out, "the sides are not surely apart, and nothing can be a share of their difference"
        degrees = self.families.degrees(of_families[""] @ self.families.contrast())
        bounds = ratios.joint_interval(shared, s, np.stack([drawn["shared"], drawn[""]]), min(sizes), degrees)
        if bounds is None:
            return out, "families differ too much: the difference between the sides may as well be 0"
        out |= {
            "bound_share": 1 - shared / s,
            "bound_share_ci_low": 1 - bounds[1],
            "bound_share_ci_high": 1 - bounds[0],
        }
        if _above_0(out["user_is_ci_low"], user):
            cosines = _cosine(*(drawn[name] for name in ("shared", "", "user_is")))
            low, high = resampling.interval(cosines, resampling.tail(min(sizes), degrees))
            out |= {"condition_cosine": float(_cosine(shared, s, user))}
            out |= {"condition_cosine_ci_low": float(low), "condition_cosine_ci_high": float(high)}
        return out, ""


def _above_0(low: float, scale: float) -> bool:
    return low > 0 and gates.apart_from_0(low, np.inf, scale)


def _cosine(product: Any, first: Any, second: Any) -> Any:
    """Of unbiased estimates, which may leave the range of a cosine: brought back into it.

    A draw in which a squared length is not above 0 tells nothing of the angle: it stands at the end of its sign.
    """
    square = np.maximum(first, 0) * np.maximum(second, 0)
    size = np.sqrt(square)
    apart = size > np.abs(product)
    return np.where(apart, product / np.where(apart, size, 1.0), np.sign(product))
