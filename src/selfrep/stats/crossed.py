"""Squared distances that noise does not lengthen: made of products between things that share none of it.

A squared distance between two means is too large by their noise, and never 0. A product between two *different*
families, or between two paraphrases of a persona in different frames, has no noise in common, so sums of such products
are right on average, and may be negative (crossed U-statistics). Everything here is linear in the products between
rows, their Gram matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from selfrep.stats import resampling
from selfrep.stats.distances import crossed_distances
from selfrep.stats.families import Families, averages

Array = np.ndarray


def side_contrast(first: Bool[Array, "labeling family"]) -> Float[Array, "labeling pair"]:
    """Weights on products [family × family] that make the squared distance of side means, self-products left out.

    Args:
        first: [labeling, family] which families stand on the first side; at least two on either.

    Returns:
        [labeling, family · family].

    Example:
        Two families a side, at 0 and 2 on a line; a squared distance of 4:

        >>> first, at = np.array([True, True, False, False]), np.array([0.0, 0.0, 2.0, 2.0])
        >>> float(side_contrast(first[None])[0] @ np.outer(at, at).ravel())
        4.0
    """
    n = first.shape[1]
    out = np.zeros((len(first), n, n))
    for a, b, sign in ((first, first, 1.0), (~first, ~first, 1.0), (first, ~first, -2.0)):
        pairs = np.einsum("li,lj->lij", a.astype(float), b.astype(float))
        if sign > 0:
            pairs[:, np.arange(n), np.arange(n)] = 0.0
        out += sign * pairs / pairs.sum(axis=(1, 2), keepdims=True)
    return out.reshape(len(first), -1)


@dataclass(frozen=True, eq=False)
class Draws:
    """Bootstrap draws of distances: families within their side, personas within each family, paraphrases within each.

    Attributes:
        first: [family] whether it stands on the first side; family: [row] the number of its family.
        counts: [draw, family] how often each is drawn, at least two different ones a side.
        within: [draw, row] the weights of rows in their family; those of a family sum to 1.
    """

    first: Bool[Array, " family"]
    family: Int[Array, " row"]
    counts: Float[Array, "draw family"]
    within: Float[Array, "draw row"]

    @classmethod
    def of(cls, families: Families, n: int, rng: np.random.Generator) -> Draws:
        """So many draws of families, at least two of them a side."""
        counts = np.zeros((n, len(families.first)))
        for side in (families.first, ~families.first):
            counts[:, side] = resampling.resample(int(side.sum()), n, rng, distinct=2)
        personas = resampling.resample_within(families.family, n, rng)[:, families.persona]
        within = personas * resampling.resample_within(families.persona, n, rng)
        return cls(families.first, families.family[families.persona], counts, within)

    def side_distances(self, gram: Float[Array, "row row"]) -> Float[Array, " draw"]:
        """The squared distance between the sides in every draw, self-products of families left out.

        Args:
            gram: [row, row] products of rows; of two conditions, for the product of their two differences.
        """
        first = self.first[self.family]
        alike = first[:, None] == first
        strangers = self.family[:, None] != self.family
        sizes = np.where(self.first, self.first.sum(), (~self.first).sum())
        squares = np.stack([(self.counts**2) @ side for side in (~self.first, self.first)], axis=1)
        pairs = sizes**2 - squares[:, self.first.astype(int)]  # ordered pairs of different families on its side
        weight = self.counts[:, self.family] * self.within
        inside, across = weight / np.sqrt(pairs)[:, self.family], weight / sizes[self.family]
        within = ((inside @ (gram * (alike & strangers))) * inside).sum(axis=1)
        return np.asarray(within - ((across @ (gram * ~alike)) * across).sum(axis=1))

    def mean_distances(self, distances: Float[Array, "family family"]) -> Float[Array, " draw"]:
        """The mean distance between two different families of every draw; families alone are drawn."""
        pairs = np.einsum("di,dj->dij", self.counts, self.counts) * ~np.eye(len(distances), dtype=bool)
        return np.asarray((pairs * distances).sum(axis=(1, 2)) / pairs.sum(axis=(1, 2)))


def family_distances(
    gram: Float[Array, "row row"], families: Families, frame: Int[Array, " row"]
) -> Float[Array, "family family"]:
    """The mean squared distance between a persona of one family and a persona of another.

    Both ends of a difference are read in the same words around the persona, and the two differences that are multiplied
    in different ones: ⟨xᵢₖ − xⱼₖ, xᵢₗ − xⱼₗ⟩ over paraphrases k, l whose frames differ.

    Args:
        gram: [row, row] products of rows.
        families: of the rows.
        frame: [row] what surrounds the persona's description.

    Returns:
        [family, family], right on average and at times below 0; the diagonal means nothing. NaN beside a family with a
        persona in one frame only.
    """
    member = (np.arange(families.persona.max() + 1)[:, None] == families.persona).astype(float)
    pool = averages(families.family)
    return np.asarray(pool @ crossed_distances(gram, member, frame[:, None] != frame) @ pool.T)
