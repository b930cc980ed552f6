"""Two sides of personas, compared by families.

Personas come in families: three assistants of three makers, three machines of three films. Members of a family are
alike for reasons that have nothing to do with the question, so the family is what is counted: what is averaged within
before sides are compared, what a bootstrap draws, and what a permutation relabels. A persona without a family is a
family of its own.

What too few families cannot tell is not told: the maps and shifts of 2 against 2 stand, without interval and p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling
from selfrep.stats.rounding import negligible

Array = np.ndarray

FEWEST = 4
"""Families a side under which there is no interval: 2 against 6 hold the truth 76 times of 100."""


@dataclass(frozen=True, eq=False)
class Families:
    """The families of two sides of personas, from the rows of a table (a row: a persona in one paraphrase).

    Attributes:
        sides: the first and the second side; contrasts are the first less the second.
        names: [family] in alphabetical order.
        first: [family] whether it stands on the first side.
        persona: [row] the number of its persona; family: [persona] the number of its family.
    """

    sides: tuple[str, str]
    names: tuple[str, ...]
    first: Bool[Array, " family"]
    persona: Int[Array, " row"]
    family: Int[Array, " persona"]

    @classmethod
    def of(
        cls, persona: Int[Array, " row"], family: Sequence[str], side: Sequence[str], sides: tuple[str, str]
    ) -> Families:
        """The families of personas that all stand on one of two sides.

        Args:
            persona: [row] the number of its persona.
            family, side: [persona] names.
            sides: the first and the second.

        Raises:
            SelfrepError: a family spans both sides, or a side has no persona.

        Example:
            >>> two = ("ai", "human")
            >>> Families.of(np.array([0, 0, 1, 2]), ["film", "film", "trade"], ["ai", "ai", "human"], two).sizes
            {'ai': 1, 'human': 1}
        """
        side_of = permutation.groups_of(family, side, unit="family")
        names = tuple(sorted(side_of))
        if empty := [name for name in sides if name not in side_of.values()]:
            raise SelfrepError(f"Two sides of personas are compared; none stands on {empty[0]!r}.")
        first = np.array([side_of[name] == sides[0] for name in names])
        return cls(sides, names, first, persona, np.array([names.index(name) for name in family]))

    @property
    def sizes(self) -> dict[str, int]:
        """The number of families on each side."""
        return {self.sides[0]: int(self.first.sum()), self.sides[1]: int((~self.first).sum())}

    def pooling(self) -> Float[Array, "family row"]:
        """Weights that average the paraphrases of each persona, and then the personas of each family."""
        return averages(self.family) @ averages(self.persona)

    def contrast(self) -> Float[Array, " family"]:
        """Weights that take the mean of the second side's families from that of the first's."""
        return np.where(self.first, 1 / self.first.sum(), -1 / (~self.first).sum())

    def labelings(self, limit: int, rng: np.random.Generator) -> Float[Array, "labeling family"]:
        """The contrast under permuted labels of families, that of the data first (see `permutation.labelings`)."""
        first = permutation.labelings(self.first, limit, rng)
        return np.where(first, 1 / first.sum(1, keepdims=True), -1 / (~first).sum(1, keepdims=True))

    def draws(
        self, n: int, rng: np.random.Generator, weights: Float[Array, " family"] | None = None
    ) -> Float[Array, "draw row"]:
        """Row weights of the contrast in bootstrap draws: families within their side, personas within each family,
        paraphrases within each persona.

        Args:
            n: the number of draws; rng: of the draws.
            weights: another contrast of families; those of equal weight are drawn among themselves.
        """
        contrast = self.contrast() if weights is None else weights
        personas = resampling.resample_nested(self.family, contrast, n, rng)
        return personas[:, self.persona] * resampling.resample_within(self.persona, n, rng)

    def degrees(self, values: Float[Array, " family"]) -> float:
        """Welch's degrees of freedom of the difference between the sides.

        Args:
            values: [family] what is compared.

        Returns:
            between the smaller side's size less one and the number of families less two.

        Source: Welch 1947; Satterthwaite 1946.
        """
        squares = [values[side].var(ddof=1) / side.sum() for side in (self.first, ~self.first)]
        of_sides = [int(side.sum()) - 1 for side in (self.first, ~self.first)]
        total = sum(squares)
        if negligible(np.sqrt(total), np.abs(values).max()):
            return float(sum(of_sides))
        return float(total**2 / sum(square**2 / df for square, df in zip(squares, of_sides, strict=True)))

    def tail(self, values: Float[Array, " family"]) -> float:
        """The bootstrap tail that bounds 95 % (see `resampling.tail`); NaN where `unbounded` says why."""
        if self.unbounded():
            return np.nan
        return resampling.tail(min(self.sizes.values()), self.degrees(values))

    def unbounded(self) -> str:
        """Why a difference between the sides has no interval, if so."""
        return self._too_few(min(self.sizes.values()) < FEWEST, f"an interval needs at least {FEWEST} families a side")

    def untestable(self) -> str:
        """Why a difference between the sides has no p-value, if so: not even the most extreme labeling reaches .05."""
        smallest = 1 / permutation.n_splits(*self.sizes.values())
        lacking = min(self.sizes.values()) < 3 or smallest > permutation.ALPHA
        return self._too_few(
            lacking,
            f"a test needs enough families to reach p = {permutation.ALPHA} (the smallest here is {smallest:.2g})",
        )

    def _too_few(self, lacking: bool, rule: str) -> str:
        counts = ", ".join(f"{name}: {size}" for name, size in self.sizes.items())
        return f"{rule}; there are {counts}" if lacking else ""


def averages(number: Int[Array, " row"]) -> Float[Array, "group row"]:
    """Weights that average the rows of each group, from the number of each row's group.

    Example:
        >>> averages(np.array([0, 0, 1])).tolist()
        [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    member = np.arange(number.max() + 1)[:, None] == number
    return member / member.sum(axis=1, keepdims=True)
