"""B: the same questions under a changed truth, beside the answers that every study scores."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.bleed import BleedPart
from selfrep.analyses.bleed.estimate import bleed
from selfrep.prompts.prompt import prompts


def runs(context: Context, part: BleedPart) -> Iterator[Stage]:
    """The answers under a changed truth, and the estimate."""
    items = part.chosen(context.items)

    def estimate() -> xr.Dataset:
        scores = xr.concat([context.scores(group, items) for group in ("behaviour", "truth")], "prompt")
        framings = {item.name: item.framing for item in items}
        return bleed(scores, framings, towards=part.towards, seed=context.seed)

    yield context.scoring("answers under a changed truth", "truth", prompts(context.people, items, ("truth",)))
    yield context.estimating("bleed", "bleed", estimate)
