"""The difference between two sides of personas, with its interval and its test, families being what is counted.

Answers, shares of them and standardised answers are compared alike: paraphrases are averaged within personas, personas
within families, and families between the sides. What too few families cannot tell is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from selfrep.stats import permutation, ratios, resampling
from selfrep.stats.families import Families

Array = np.ndarray
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Contrast:
    """Two sides of personas, and how they are resampled and relabelled.

    Attributes:
        families: of both sides.
        draws: [draw, row] weights of the difference in bootstrap draws.
        labelings: [labeling, family] weights of the difference under permuted labels, that of the data first.

    Example:
        >>> number, names = np.repeat(np.arange(8), 2), [f"p{i}" for i in range(8)]
        >>> families = Families.of(number, names, ["ai"] * 4 + ["human"] * 4, ("ai", "human"))
        >>> contrast = Contrast.of(families, n_permutations=100, n_bootstrap=500, rng=np.random.default_rng(0))
        >>> rows = np.where(number < 4, 3.0, 1.0) + 0.1 * np.tile([1, -1], 8)
        >>> round(contrast.shift(rows), 6), round(contrast.test(rows)[0], 3)
        (2.0, 0.029)
    """

    families: Families
    draws: Float[Array, "draw row"]
    labelings: Float[Array, "labeling family"]

    @classmethod
    def of(cls, families: Families, n_permutations: int, n_bootstrap: int, rng: np.random.Generator) -> Contrast:
        """The contrast of some families: at most so many labelings, and so many bootstrap draws."""
        labelings = families.labelings(n_permutations, rng)
        return cls(families, families.draws(n_bootstrap, rng), labelings)

    def means(self, rows: Float[Array, row * rest]) -> Float[Array, family * rest]:
        """The mean of each family."""
        return self.families.pooling() @ rows

    def shift(self, rows: Float[Array, " row"]) -> float:
        """The first side less the second."""
        return float(self.families.contrast() @ self.means(rows))

    def interval(self, rows: Float[Array, " row"], draws: Float[Array, " draw"] | None = None) -> Interval:
        """95 % bounds of the shift; NaN where there are too few families.

        Args:
            rows: the values.
            draws: the shift in every draw, where more than families is resampled.
        """
        tail = self.families.tail(self.means(rows))
        if np.isnan(tail):
            return np.nan, np.nan
        low, high = resampling.interval(self.draws @ rows if draws is None else draws, tail)
        return float(low), float(high)

    def test(self, rows: Float[Array, " row"]) -> tuple[float, float]:
        """p of no shift, and the 95th percentile of |shift| under permuted labels; NaN where too few families."""
        if self.families.untestable():
            return np.nan, np.nan
        size = float(np.abs(rows).max())  # one answer near 0 is known no better than the others
        found = permutation.permutation_test(self.means(rows)[None], self.labelings, absolute=True, scale=size)
        return float(found.p[0]), float(found.null_high[0])

    def share(
        self,
        part: float,
        whole: float,
        draws: Float[Array, "2 draw"],
        rows: Float[Array, " row"],
        *,
        parts: Float[Array, " row"] | None = None,
    ) -> Interval | None:
        """95 % bounds of part / whole; NaN where there are too few families, None where the whole may be 0.

        Args:
            part, whole: two shifts.
            draws: [2, draw] of them.
            rows: the values that the whole is the shift of, whose families tell the degrees of freedom.
            parts: those of the part; the covariance is then that of families, otherwise that of the draws.
        """
        if self.families.unbounded():
            return np.nan, np.nan
        means = self.means(rows)
        covariance = None
        if parts is not None:
            both, first = np.stack([self.means(parts), means]), self.families.first
            covariance = sum((np.cov(both[:, side]) / side.sum() for side in (first, ~first)), np.zeros((2, 2)))
        fewest, degrees = min(self.families.sizes.values()), self.families.degrees(means)
        return ratios.joint_interval(part, whole, draws, fewest, degrees, covariance=covariance)

    def attributes(self) -> dict[str, object]:
        """What was compared, for the attributes of a Dataset."""
        return {
            "sides": list(self.families.sides),
            "n_families": list(self.families.sizes.values()),
            "n_personas": self._personas(),
            "permuted": "the side labels of families",
            "n_labelings": len(self.labelings),
            "smallest_p": 1 / len(self.labelings),
            "unbounded": self.families.unbounded(),
            "untestable": self.families.untestable(),
        }

    def _personas(self) -> list[int]:
        first = self.families.first[self.families.family]
        return [int(first.sum()), int((~first).sum())]
