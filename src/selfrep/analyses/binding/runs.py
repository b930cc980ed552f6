"""R from the answers that every study scores."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.binding import BindingPart
from selfrep.analyses.binding.estimate import binding


def runs(context: Context, part: BindingPart) -> Iterator[Stage]:
    """One estimate."""
    items = part.chosen(context.items)
    framings = {item.name: item.framing if item.perspective == "spectator" else item.perspective for item in items}
    yield context.estimating(
        "role binding",
        "binding",
        lambda: binding(context.scores("behaviour", items), framings, sides=context.sides, seed=context.seed),
    )
