"""The spectator is asked what everybody would answer, beside the answers that every study scores."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.spectator import SpectatorPart
from selfrep.analyses.spectator.estimate import spectator
from selfrep.analyses.spectator.material import questions


def runs(context: Context, part: SpectatorPart) -> Iterator[Stage]:
    """What the model foretells, and the estimate."""
    items = part.chosen(context.items)
    outside = context.items.plain().spectator()

    def estimate() -> xr.Dataset:
        answers = context.scores("behaviour", items | outside)
        scores = xr.concat([answers, context.scores("foretold", items)], "prompt")
        held_true = [item.name for item in outside if item.framing == "third_person"]
        sides = {item.sides for item in outside if item.name in held_true}
        same = [item.name for item in items if item.sides in sides]
        return spectator(scores, list(items.names()), held_true, same, seed=context.seed)

    yield context.scoring("answers foretold from outside", "foretold", questions(context.people, items, part.form))
    yield context.estimating("the ideal spectator", "spectator", estimate)
