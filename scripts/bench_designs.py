"""Who takes part in a simulated study: families of personas on two sides, or on none.

Members of a family are alike by the intraclass correlation RHO, in everything that is drawn about them. Families are
what selfrep counts, so they are what is drawn independently here; a test that counts personas is wrong by as much as
RHO says, which the controls show (`strangers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr

Array = np.ndarray
Rng = np.random.Generator

RHO = 0.6


@dataclass(frozen=True)
class Design:
    """How many families there are on each side, and how many personas in each.

    Attributes:
        first, second: families a side; no second: they stand on no two sides.
        members: personas a family.
    """

    first: int
    second: int = 0
    members: int = 1

    @property
    def title(self) -> str:
        """ "9 v 9 of 2": nine families of two personas a side."""
        size = f"{self.first} v {self.second}" if self.second else f"{self.first}"
        return f"{size} of {self.members}" if self.members > 1 else size

    @cached_property
    def families(self) -> Array:
        """[persona] the number of its family."""
        return np.repeat(np.arange(self.first + self.second), self.members)

    @cached_property
    def sides(self) -> Array:
        """[persona] 0 or 1."""
        return (self.families >= self.first).astype(int)

    @cached_property
    def names(self) -> list[str]:
        """[persona] the first side is called "ai"; sides are told by their names (see tests/synthetic.py)."""
        return [f"{('ai', 'human')[side]}{i}" for i, side in enumerate(self.sides)]

    def kin(self, rng: Rng, *shape: int, sd: float = 1.0) -> Array:
        """[persona, *shape] how personas deviate, by `sd`: RHO of the variance is their family's."""
        shared = rng.normal(0, sd, (self.first + self.second, *shape))[self.families]
        if self.members == 1:
            return shared
        return np.sqrt(RHO) * shared + np.sqrt(1 - RHO) * rng.normal(0, sd, (len(self.families), *shape))

    def kin_variance(self) -> float:
        """The variance of the mean of a family, where that of a persona is 1."""
        return RHO + (1 - RHO) / self.members if self.members > 1 else 1.0

    def labelled(self, data: xr.Dataset, along: str = "prompt") -> xr.Dataset:
        """The same data, which know the families of these personas; others have none."""
        of = dict(zip(self.names, (f"family{k}" for k in self.families), strict=True))
        return data.assign_coords(family=(along, [of.get(str(name), "") for name in data.persona.to_numpy()]))


def strangers(data: xr.Dataset) -> xr.Dataset:
    """The same data, read as if no two personas were of one family: what must go wrong."""
    return data.drop_vars("family")
