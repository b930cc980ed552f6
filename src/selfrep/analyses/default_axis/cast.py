"""Who draws the axis, who is placed on it, and how both are resampled.

Prompts are pooled into points, a persona (or none) in one condition, in two folds: the paraphrases of one fold draw the
axis on which those of the other are placed. In a bootstrap, families of roles are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from selfrep.errors import SelfrepError
from selfrep.stats import resampling
from selfrep.stats.rows import Rows

Array = np.ndarray


def readings(acts: xr.Dataset, spoken: Bool[Array, " prompt"], *which: str) -> list[str]:
    """The personas that are one of these readings of the self."""
    if "reading" not in acts.coords:
        return []
    return sorted(set(map(str, acts.persona.values[spoken & np.isin(acts.reading.to_numpy(), which)])))


@dataclass(frozen=True, eq=False)
class Cast:
    """The places of personas: a row is a persona (or none) in one paraphrase and one condition.

    Attributes:
        groups: [row] its prompts. fold: [row] 0 or 1: rows of one draw the axis for the other.
        member: [row] the number of its point in `who`.
        who, conditions: [point] name and condition; the first ones draw the axis: the default (or all of them, as one)
            and the roles.
        family: [persona] the number of the family of each of these, 0 for the default.
        without: [point] the number of the family that its axis leaves out; −1 for none.
    """

    groups: list[Int[Array, " prompt"]]
    fold: Int[Array, " row"]
    member: Int[Array, " row"]
    who: list[str]
    conditions: list[str]
    family: Int[Array, " persona"]
    without: Int[Array, " point"]

    @property
    def n(self) -> int:
        """How many points draw the axis."""
        return len(self.family)

    @property
    def n_families(self) -> int:
        """The number of families of roles."""
        return int(self.family.max())

    @property
    def even(self) -> Float[Array, " persona"]:
        """Weights under which families of roles count alike, and the members of each; 0 for the default."""
        sizes = np.bincount(self.family)
        return np.where(self.family > 0, 1 / (sizes[self.family] * self.n_families), 0.0)

    @classmethod
    def of(cls, acts: xr.Dataset, condition: str, defaults: list[str], placed: list[str]) -> Cast:
        """The points of the condition that draws the axis, and of those that are placed on it.

        Raises:
            SelfrepError: a persona with one paraphrase; conditions with other items; no role.
        """
        groups: list[Array] = []
        labels: list[tuple[str, str]] = []
        folds: list[int] = []
        item_sets: list[list[str]] = []
        family_of: dict[str, str] = {}
        of_self = set(readings(acts, acts.condition.to_numpy() == condition, "default", "reductionist"))
        for spoken in (condition, *placed):
            rows = Rows.of(acts.assign_coords(all=("prompt", np.zeros(acts.sizes["prompt"]))), spoken, "all")
            item_sets.append(rows.items)
            family_of |= dict(zip(rows.names, rows.family, strict=True))
            counts: dict[str, int] = {}
            for (name, _), group in zip(rows.keys, rows.groups, strict=True):
                label = "default" if name in defaults else name
                counts[name] = counts.get(name, -1) + 1
                folds.append(counts[name] % 2)
                labels.append((spoken, label))
                groups.append(group)
            if spoken == condition and (single := [name for name, last in counts.items() if last < 1]):
                raise SelfrepError(
                    "Paraphrases that draw the axis are not placed on it: every persona needs at least two; "
                    f"{single[:3]} have one."
                )
        if any(items != item_sets[0] for items in item_sets):
            raise SelfrepError(
                "Prompts are placed on an axis that was drawn from the same items; the conditions differ in theirs: "
                f"{item_sets}."
            )
        roles = sorted({label for spoken, label in labels if spoken == condition} - of_self - {"default"})
        if not roles:
            raise SelfrepError("The axis runs from the mean role; there is no persona but the readings of the self.")
        first = ["default", *roles]
        families = sorted({family_of[name] for name in roles})
        number = {name: 1 + families.index(family_of[name]) for name in roles}
        points = [(condition, name) for name in first] + sorted(set(labels) - {(condition, name) for name in first})
        return cls(
            groups,
            np.array(folds),
            np.array([points.index(label) for label in labels]),
            [name if spoken == condition else f"{spoken}: {name}" if name else "unprompted" for spoken, name in points],
            [spoken for spoken, _ in points],
            np.array([0, *(number[name] for name in roles)]),
            np.array([number.get(name, -1) for _, name in points]),
        )

    def pooling(self, fold: int, within: Float[Array, " row"] | None = None) -> Float[Array, "point row"]:
        """Weights that average the rows of one fold by point; of all rows where a point has none in the fold."""
        mine = (np.arange(len(self.who))[:, None] == self.member) * 1.0
        here = mine * (self.fold == fold)
        here = np.where(here.any(axis=1, keepdims=True), here, mine)
        here = here if within is None else here * within
        return here / here.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap draws: the weight of each role, and the weights that make the mean of each point in each fold."""

    roles: Float[Array, "draw persona"]
    pooled: Float[Array, "draw 2 point row"]

    @classmethod
    def of(cls, cast: Cast, n: int, rng: np.random.Generator) -> Draws:
        """So many draws of families of roles, at least three different ones, and of their personas and paraphrases."""
        counts = np.zeros((n, 1 + cast.n_families))
        counts[:, 1:] = resampling.resample(cast.n_families, n, rng, distinct=3)
        roles = counts[:, cast.family] * resampling.resample_within(cast.family, n, rng)
        cell = cast.member * 2 + cast.fold
        within = resampling.resample_within(cell, n, rng, rescaled=True)  # the default has only its paraphrases to vary
        return cls(roles, np.array([[cast.pooling(f, w) for f in (0, 1)] for w in within]))
