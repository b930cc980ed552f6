"""How to choose a layer or a direction without cheating: on half of the personas, and tested on the other half.

The best of many cells is best partly by luck, and its own p and size keep that luck. So the families of personas are
dealt into two halves, evenly by side. One half chooses, the other judges, and both are named. How alike the two maps
are, cell by cell, says how far a map can be trusted at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats import permutation
from selfrep.stats.families import FEWEST
from selfrep.stats.labels import persona_labels, two_sides
from selfrep.stats.rounding import negligible

Array = np.ndarray

Estimand = Callable[[xr.Dataset], xr.Dataset]
"""Observed or captured prompts → a map of estimates, such as `separation`."""


@dataclass(frozen=True)
class Halves:
    """Two halves of the personas, each with both sides.

    Attributes:
        choosing: the names of those that choose the cell.
        testing: the names of those that judge it.
    """

    choosing: tuple[str, ...]
    testing: tuple[str, ...]

    def of(self, data: xr.Dataset, names: tuple[str, ...]) -> xr.Dataset:
        """The prompts of these personas, and those without a persona (neutral)."""
        return data.isel(prompt=np.flatnonzero(np.isin(data.persona.to_numpy(), [*names, ""])))


def halves(
    data: xr.Dataset,
    *,
    sides: Sequence[str] | None = None,
    between: str = "side",
    fewest: int = FEWEST,
    seed: int = 0,
) -> Halves:
    """Deal the personas of a Dataset into two halves, evenly by side; families stay together.

    Args:
        data: from `selfrep.score` or `selfrep.capture`, with the coordinates persona, `between` and, where personas
            have one, family on prompt.
        sides: whose personas are dealt; where None, the two sides that there are.
        between: the coordinate that holds a persona's side.
        fewest: families a side in a half (four against four can reach p = .029).
        seed: of the deal.

    Returns:
        `Halves`.

    Raises:
        SelfrepError: a side has fewer than twice `fewest` families, whose half could not be tested; a family is on two
            sides.

    Example:
        >>> names = [f"ai{i}" for i in range(8)] + [f"human{i}" for i in range(8)]
        >>> sides = ["ai"] * 8 + ["human"] * 8
        >>> dealt = halves(xr.Dataset(coords={"persona": ("prompt", names), "side": ("prompt", sides)}))
        >>> len(dealt.choosing), len(dealt.testing), set(dealt.choosing) & set(dealt.testing)
        (8, 8, set())
    """
    two = two_sides(data, sides, between)
    mine = np.isin(data[between].to_numpy(), two) & (data.persona.to_numpy() != "")
    people, side = [str(name) for name in data.persona.to_numpy()[mine]], data[between].to_numpy()[mine]
    family_of = {
        name: family or name for name, family in zip(people, persona_labels(data, people, "family"), strict=True)
    }
    side_of = permutation.groups_of((family_of[name] for name in people), side, unit="family")
    members: dict[str, list[str]] = {}
    for name in sorted(side_of):
        members.setdefault(side_of[name], []).append(name)
    if poor := {side: len(names) for side, names in members.items() if len(names) < 2 * fewest}:
        smallest = 1 / permutation.n_splits(fewest, fewest)
        raise SelfrepError(
            f"To choose on one half and test on the other, each side needs {2 * fewest} families of personas ({fewest} "
            f"a half can reach p = {smallest:.2g}); got {poor}. Add personas, or name the layer beforehand."
        )
    rng = np.random.default_rng(seed)
    first: list[str] = []
    second: list[str] = []
    for names in members.values():
        dealt = rng.permutation(names).tolist()
        half = (len(dealt) + len(first) % 2) // 2  # the odd one out goes to either half by turns
        first += dealt[:half]
        second += dealt[half:]
    choosing, testing = (tuple(sorted(k for k, f in family_of.items() if f in half)) for half in (first, second))
    return Halves(choosing, testing)


def select_and_test(
    data: xr.Dataset,
    estimand: Estimand,
    *,
    value: str = "estimate",
    sides: Sequence[str] | None = None,
    between: str = "side",
    seed: int = 0,
) -> xr.Dataset:
    """Choose the cell where a value is largest on one half of the personas; return what the other half says there.

    Args:
        data: from `selfrep.score` or `selfrep.capture`.
        estimand: what makes a map of either half, e.g. `selfrep.separation`.
        value: the variable to be large.
        sides: whose personas are dealt; where None, the two sides that there are.
        between: the coordinate that holds a persona's side.
        seed: of the deal.

    Returns:
        The map of the testing half at the chosen cell. Its p is free of the choice: one cell, no correction for many.
        The attributes `chosen` (the cell), `choosing` and `testing` (the names of both halves) say how it came about.

        * all variables of the map.
        * `chosen_on`: the value that led to the choice.
        * `reliability`: the split-half correlation of the two maps, see `reliability`.

    Raises:
        SelfrepError: too few families for halves; no cell with a number.

    Source: cross-validation by halves; Spearman–Brown.

    Example:
        The last of three layers holds the side, and nothing else:

        >>> names = [f"{side}{i}" for side in ("ai", "human") for i in range(8)]
        >>> acts = xr.Dataset(
        ...     {"activations": (("prompt", "layer"), np.repeat([[0, 0, 5], [0, 0, 1]], 8, axis=0))},
        ...     coords={"persona": ("prompt", names), "side": ("prompt", ["ai"] * 8 + ["human"] * 8)},
        ... )
        >>> def apart(half: xr.Dataset) -> xr.Dataset:
        ...     of = half.activations.groupby(half.side).mean()
        ...     return xr.Dataset({"estimate": of.sel(side="ai") - of.sel(side="human")})
        >>> chosen = select_and_test(acts.assign_coords(layer=[0, 1, 2]), apart)
        >>> chosen.attrs["chosen"], float(chosen.estimate)
        ("{'layer': 2}", 4.0)
    """
    dealt = halves(data, sides=sides, between=between, seed=seed)
    choosing, testing = (estimand(dealt.of(data, names)) for names in (dealt.choosing, dealt.testing))
    chosen_map = choosing[value]
    if not bool(np.isfinite(chosen_map).any()):
        raise SelfrepError(f"No cell of the map has a finite {value!r}: there is nothing to choose.")
    at = {str(dim): int(index) for dim, index in chosen_map.argmax(...).items()} if chosen_map.ndim else {}
    cell = {dim: chosen_map[dim].values[index].item() for dim, index in at.items()}
    out = testing.isel(at)
    return out.assign(chosen_on=chosen_map.isel(at), reliability=reliability(chosen_map, testing[value])).assign_attrs(
        chosen=str(cell), choosing=list(dealt.choosing), testing=list(dealt.testing)
    )


def reliability(first: xr.DataArray, second: xr.DataArray) -> float:
    """Split-half reliability of a map: the correlation of two halves' cells, stepped up to the whole (Spearman–Brown).

    Args:
        first, second: maps of the same cells.

    Returns:
        2 r / (1 + r) with Pearson's r; r itself where it is not above 0. NaN when fewer than three cells are finite in
        both, or a half does not vary.

    Source: Spearman 1910; Brown 1910.

    Example:
        >>> one, other = xr.DataArray([1.0, 2.0, 3.0, 4.0]), xr.DataArray([1.0, 3.0, 2.0, 4.0])  # r = 0.8
        >>> round(reliability(one, other), 3)
        0.889
    """
    a, b = (x.to_numpy().ravel().astype(float) for x in (first, second))
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < 3 or any(negligible(np.ptp(x[both]), np.abs(x[both]).max()) for x in (a, b)):
        return float("nan")
    r = float(scipy_stats.pearsonr(a[both], b[both]).statistic)
    return 2 * r / (1 + r) if r > 0 else r
