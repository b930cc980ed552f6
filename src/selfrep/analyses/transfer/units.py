"""What T counts as one: pairs of families, not runs.

The runs of a pair (its items and paraphrases) are averaged, then the pairs of the same two families. What is resampled
and whose signs are flipped depends on which families the pairs share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from selfrep.stats import resampling

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Units:
    """The pairs of families of one direction.

    Attributes:
        names: [unit] family of the source, of the target.
        movement: [unit, layer, place] nats.
        total: [unit] the total effect, nats, above 0.
        scale: nats, the largest of what movements are differences of.
    """

    names: list[tuple[str, str]]
    movement: Float[Array, "unit layer place"]
    total: Float[Array, " unit"]
    scale: float

    @classmethod
    def of(cls, effects: xr.Dataset, chosen: Bool[Array, " pair"]) -> Units:
        """Those of some runs.

        Args:
            effects: see `shares`; chosen: [pair] which runs.
        """
        pairs, families = ends(effects, chosen), ends(effects, chosen, "_family")
        of_pair, of_family = dict(zip(pairs, families, strict=True)), list(dict.fromkeys(families))
        weight = np.zeros((len(of_family), len(pairs)))
        for row, (pair, family) in enumerate(zip(pairs, families, strict=True)):
            n_pairs = sum(other == family for other in of_pair.values())
            weight[of_family.index(family), row] = 1 / n_pairs / pairs.count(pair)
        movement, total = _movement(effects, chosen)
        parts = (np.nan_to_num(effects[name].to_numpy()[chosen]) for name in ("patched", "target_metric"))
        scale = max(float(np.abs(values).max(initial=0.0)) for values in parts)
        return cls(of_family, np.tensordot(weight, movement, 1), weight @ total, scale)

    def share(self) -> Float[Array, "layer place"]:
        """T: what was moved, of what there was to move."""
        return self.movement.sum(axis=0) / self.total.sum()

    def merged(self, label: Int[Array, " unit"]) -> Units:
        """Units with the same label as one."""
        member = np.arange(label.max(initial=-1) + 1)[:, None] == label
        names = [self.names[int(row.argmax())] for row in member]
        return Units(names, np.tensordot(member.astype(float), self.movement, 1), member @ self.total, self.scale)

    def independent(self) -> int:
        """How many units of sampling there are."""
        return min(int(factor.max()) + 1 for factor in self.factors())

    def factors(self) -> list[Int[Array, " unit"]]:
        """The units of sampling, as labels: usually the pair, and the family where pairs share some.

        Pairs that share no family stand for themselves; so do those that all share one (the estimate is then about
        that one). Where they share families of one side, these are the units; where of both sides, both are.
        """
        sides = [np.unique(column, return_inverse=True)[1] for column in np.array(self.names).T]
        shared = [side for side in sides if 1 < side.max() + 1 < len(side)]
        if len(shared) == 2 and (coarse := [s for s, t in (shared, shared[::-1]) if _determines(t, s)]):
            shared = coarse[:1]
        return shared or [np.arange(len(self.names))]

    def resampled(
        self, factors: list[Int[Array, " unit"]], n: int, rng: np.random.Generator
    ) -> Float[Array, "draw unit"]:
        """Bootstrap weights of the units.

        Of two factors each is resampled, and a unit weighs the product (the pigeonhole bootstrap, Owen 2007), which
        errs on the side of wide intervals. Draws without any unit are repeated.
        """
        weights = np.zeros((n, len(self.names)))
        while len(poor := np.flatnonzero(weights.sum(axis=1) == 0)):
            weights[poor] = np.prod(
                [resampling.resample(int(f.max()) + 1, len(poor), rng)[:, f] for f in factors], axis=0
            )
        return weights

    def disjoint(self) -> Int[Array, " chosen"]:
        """Units of which no two share a family: these are independent, so that their signs may be flipped."""
        met: set[str] = set()
        chosen = []
        for i, name in enumerate(self.names):
            if not met & set(name):
                met |= set(name)
                chosen.append(i)
        return np.array(chosen)


def _determines(fine: Int[Array, " unit"], coarse: Int[Array, " unit"]) -> bool:
    """Whether units with the same `fine` label always have the same `coarse` label."""
    return len(set(zip(fine.tolist(), coarse.tolist(), strict=True))) == len(set(fine.tolist()))


def ends(effects: xr.Dataset, chosen: Bool[Array, " pair"], what: str = "") -> list[tuple[str, str]]:
    """The source and the target of each run; with what="_family" their families: themselves, where none is known.

    Args:
        effects: see `shares`; chosen: [pair] which runs.
    """
    columns = []
    for end in ("source", "target"):
        names = effects[end].to_numpy()[chosen]
        told = effects[f"{end}{what}"].to_numpy()[chosen] if f"{end}{what}" in effects.coords else names
        columns.append([str(word) or str(name) for word, name in zip(told, names, strict=True)])
    return list(zip(*columns, strict=True))


def _movement(
    effects: xr.Dataset, chosen: Bool[Array, " pair"]
) -> tuple[Float[Array, "row layer place"], Float[Array, " row"]]:
    """Movement and total effect of each run, both with the sign that makes the total positive."""
    total = effects.total_effect.to_numpy()[chosen].astype(float)
    movement = effects.patched.to_numpy()[chosen].astype(float)
    movement -= effects.target_metric.to_numpy()[chosen].astype(float)[:, None, None]
    return movement * np.sign(total)[:, None, None], np.abs(total)
