"""Activations as rows: one a persona in one paraphrase, so that statistics cannot forget the unit.

Prompts come out of `capture` as a flat list with labels. What the personas of a condition were not all asked is refused
here, by name, before anything is computed. Scores are read by `selfrep.stats.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from selfrep.errors import SelfrepError
from selfrep.stats import permutation
from selfrep.stats.families import Families, averages
from selfrep.stats.labels import families_of, prompts_of

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Rows:
    """The captured prompts of one condition: a row is one persona in one paraphrase, averaged over items.

    Attributes:
        keys: [row] name of the persona, number of the paraphrase.
        groups: the prompts of each row.
        persona: [row] the number of its persona.
        names, family: [persona]; side: [persona] the number of its side; sides: the names of the sides.
        items: that every row was asked.
    """

    keys: list[tuple[str, int]]
    groups: list[Int[Array, " prompt"]]
    persona: Array
    names: list[str]
    side: Array
    sides: Array
    items: list[str]
    family: list[str]

    @classmethod
    def of(cls, acts: xr.Dataset, condition: str, between: str = "side", sides: Sequence[str] | None = None) -> Rows:
        """The prompts of a condition, in groups by the coordinate `between`.

        Args:
            acts: from `selfrep.capture`.
            condition: e.g. "you".
            between: the coordinate on prompt that holds a persona's side.
            sides: keep the personas of these sides only, in this order; all, in alphabetical order, when None.

        Raises:
            SelfrepError: the condition is missing; personas were asked different items; one is on two sides.
        """
        mine = prompts_of(acts, condition, between, sides)
        if len(mine) == 0:
            raise SelfrepError(
                f"This is measured on prompts in the condition {condition!r}; there are "
                f"{sorted(set(acts.condition.values.tolist()))}."
            )
        where: dict[tuple[str, int], list[int]] = {}
        people, paraphrases, asked = (acts[label].to_numpy() for label in ("persona", "paraphrase", "item"))
        for i in mine:
            where.setdefault((str(people[i]), int(paraphrases[i])), []).append(int(i))
        keys = sorted(where)
        names = sorted({name for name, _ in keys})
        side_of = permutation.groups_of(acts.persona.to_numpy()[mine], acts[between].to_numpy()[mine])
        order = np.array(sorted(set(side_of.values())) if sides is None else sides)
        items = {key: sorted(str(asked[i]) for i in group) for key, group in where.items()}
        if uneven := [key for key in keys if items[key] != items[keys[0]]]:
            raise SelfrepError(
                "Personas are compared on the same items, or items would be taken for personas; in the condition "
                f"{condition!r} {keys[0]} was asked {items[keys[0]]} and {uneven[0]} "
                f"{items[uneven[0]]}. Ask everyone everything."
            )
        persona = np.array([names.index(name) for name, _ in keys])
        side = np.array([int(np.flatnonzero(order == side_of[name])[0]) for name in names])
        groups, family = [np.array(where[key]) for key in keys], families_of(acts, names)
        return cls(keys, groups, persona, names, side, order, items[keys[0]], family)

    def families(self) -> Families:
        """The families of the two sides."""
        first, second = map(str, self.sides)
        return Families.of(self.persona, self.family, self.sides[self.side].tolist(), (first, second))

    @property
    def members(self) -> list[tuple[str, str]]:
        """Each row's persona and the side it is on."""
        return [(name, str(self.sides[self.side[k]])) for (name, _), k in zip(self.keys, self.persona, strict=True)]

    def pooling(self) -> Float[Array, "persona row"]:
        """Weights that average the rows of each persona."""
        return averages(self.persona)


def agreed_places(data: xr.Dataset) -> dict[str, tuple[str, Array]]:
    """The coordinates of a map over tokens: the token and its segment, where all prompts agree on them ("" elsewhere).

    Args:
        data: with token and segment_of (prompt, position); none where the places are segments.

    Example:
        >>> names = {"token": (("prompt", "position"), [["a", "."], ["b", "."]])}
        >>> data = xr.Dataset(coords=names | {"segment_of": names["token"]})
        >>> agreed_places(data)["token"][1].tolist()
        ['', '.']
    """
    if "position" not in data.dims or "token" not in data.coords:
        return {}
    out = {}
    for name, field in (("token", "token"), ("segment", "segment_of")):
        columns = data[field].to_numpy().T
        out[name] = ("position", np.array([c[0] if (c == c[0]).all() else "" for c in columns], dtype=str))
    return out
