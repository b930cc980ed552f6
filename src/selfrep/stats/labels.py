"""What scores and activations say of the personas behind their prompts: condition, side, family, names to be shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Int

from selfrep.errors import SelfrepError


def two_sides(data: xr.Dataset, sides: Sequence[str] | None = None, between: str = "side") -> tuple[str, str]:
    """The names of the two sides that are compared. Prompts of no side, such as those of the self, are left out.

    Args:
        data: scores or activations, with the coordinate `between` on prompt.
        sides: the two to compare, the first less the second; where None, the two that there are, in alphabetical order.
        between: the coordinate that holds a persona's side.

    Raises:
        SelfrepError: more or fewer than two, or one that nobody stands on.

    Example:
        >>> data = xr.Dataset(coords={"side": ("prompt", ["human", "ai", "", "human"])})
        >>> two_sides(data)
        ('ai', 'human')
    """
    present = sorted({str(side) for side in data[between].to_numpy()} - {""})
    chosen = tuple(present if sides is None else sides)
    if len(set(chosen)) != 2 or not set(chosen) <= set(present):
        raise SelfrepError(
            f"Two sides of personas are compared; got {', '.join(chosen) or 'none'} of {', '.join(present) or 'none'}. "
            'Give every persona its side, and name two of them: sides=("first", "second").'
        )
    return str(chosen[0]), str(chosen[1])


def side_labels(data: xr.Dataset, sides: Sequence[str]) -> list[str]:
    """What figures and sentences call the sides.

    Args:
        data: scores or activations, with side and side_label on prompt.
        sides: the names.

    Example:
        >>> data = xr.Dataset(coords={"side": ("prompt", ["ai", ""]), "side_label": ("prompt", ["AI", ""])})
        >>> side_labels(data, ["ai"])
        ['AI']
    """
    pairs = (
        zip(data["side"].to_numpy(), data["side_label"].to_numpy(), strict=True) if "side_label" in data.coords else ()
    )
    labels = {str(side): str(label) for side, label in pairs if label}
    return [labels.get(side, side.replace("_", " ")) for side in sides]


def persona_labels(data: xr.Dataset, names: Sequence[str], label: str) -> list[str]:
    """A label of each persona; "" where the data do not have it.

    Args:
        data: scores or activations; names: the personas; label: a coordinate on prompt, e.g. "kind".

    Example:
        >>> data = xr.Dataset(coords={"persona": ("prompt", ["hal", "jfk"]), "kind": ("prompt", ["machine", "man"])})
        >>> persona_labels(data, ["jfk"], "kind"), persona_labels(data, ["jfk"], "reading")
        (['man'], [''])
    """
    if label not in data.coords:
        return [""] * len(names)
    of = dict(zip(map(str, data.persona.to_numpy()), map(str, data[label].to_numpy()), strict=True))
    return [of[name] for name in names]


def prompts_of(
    data: xr.Dataset, condition: str, between: str, sides: Sequence[str] | None
) -> Int[np.ndarray, " prompt"]:
    """The numbers of the prompts in a condition, of some sides only if these are given."""
    spoken = data.condition.to_numpy() == condition
    return np.flatnonzero(spoken if sides is None else spoken & np.isin(data[between].to_numpy(), list(sides)))


def families_of(data: xr.Dataset, names: Sequence[str]) -> list[str]:
    """The family of each persona; itself, where the data know of none."""
    return [family or name for name, family in zip(names, persona_labels(data, names, "family"), strict=True)]
