"""What each item shows, from the answers that every study scores."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.items import IN_CHARACTER, SPECTATOR
from selfrep.analyses.items.estimate import items


def runs(context: Context, part: None) -> Iterator[Stage]:
    """One estimate, where two sides are contrasted and the battery has items outside the subscales."""
    plain = context.items.plain()
    groups = {
        IN_CHARACTER: plain.in_character().names(),
        SPECTATOR: tuple(item.name for item in plain.spectator() if item.framing == "third_person"),
    }
    if len(plain) and context.sides:
        yield context.estimating(
            "what each item shows",
            "items",
            lambda: items(context.scores("behaviour", plain), groups, sides=context.sides, seed=context.seed),
        )
