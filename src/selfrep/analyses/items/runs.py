"""What each item shows, from the answers that every study scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.items import IN_CHARACTER, SPECTATOR
from selfrep.analyses.items.estimate import items
from selfrep.analyses.items.persona_shifts import persona_shifts
from selfrep.prompts.battery import Battery, Item


def runs(context: Context, part: None) -> Iterator[Stage]:
    """What every persona says, where there are items of both perspectives on the same two sides; and what each item
    shows, where two sides are contrasted and the battery has items outside the subscales."""
    plain = context.items.plain()
    groups = {
        IN_CHARACTER: plain.in_character().names(),
        SPECTATOR: tuple(item.name for item in plain.spectator() if item.framing == "third_person"),
    }
    inside, outside = on_the_same_sides(plain)
    if inside and outside:

        def shifts() -> xr.Dataset:
            scores = context.scores("behaviour", Battery((*inside, *outside)))
            names = ([item.name for item in items] for items in (inside, outside))
            return persona_shifts(scores, *names, seed=context.seed).assign_attrs(answers=list(inside[0].sides))

        yield context.estimating("what every persona says, in character and from outside", "persona_shifts", shifts)
    if len(plain) and context.sides:
        yield context.estimating(
            "what each item shows",
            "items",
            lambda: items(context.scores("behaviour", plain), groups, sides=context.sides, seed=context.seed),
        )


def on_the_same_sides(battery: Battery) -> tuple[list[Item], list[Item]]:
    """The items in character, and those from outside in the third person, that have the same two answer sides: those
    that most items share. None of either where no sides are shared.

    Example:
        >>> from selfrep.prompts.battery import builtin
        >>> [len(items) for items in on_the_same_sides(builtin().plain())]
        [13, 4]
    """
    outside = [item for item in battery.spectator() if item.framing == "third_person"]
    shared = Counter(item.sides for item in (*battery.in_character(), *outside))
    for sides, _ in shared.most_common():
        inside = [item for item in battery.in_character() if item.sides == sides]
        from_outside = [item for item in outside if item.sides == sides]
        if inside and from_outside:
            return inside, from_outside
    return [], []
