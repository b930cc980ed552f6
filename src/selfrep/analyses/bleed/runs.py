"""B: the same questions under a changed truth and under its echo, beside the answers that every study scores."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.bleed import BleedPart
from selfrep.analyses.bleed.estimate import bleed
from selfrep.prompts.prompt import prompts


def runs(context: Context, part: BleedPart) -> Iterator[Stage]:
    """The answers under a changed truth and its echo, and the estimate."""
    items = part.chosen(context.items)

    def estimate() -> xr.Dataset:
        scores = xr.concat([context.scores(group, items) for group in ("behaviour", "truth")], "prompt")
        framings = {item.name: item.framing for item in items}
        return bleed(scores, framings, sides=context.sides, towards=part.towards, seed=context.seed)

    changed = prompts(context.people, items, ("truth",))
    echoed = prompts(context.people, items.echoing(), ("echo",)) if len(items.echoing()) else []
    yield context.scoring("answers under a changed truth", "truth", [*changed, *echoed])
    yield context.estimating("bleed", "bleed", estimate)
