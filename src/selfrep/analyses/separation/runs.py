"""S from captured activations, over all personas, and at a place that half of them chose for the other half."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import xarray as xr

from selfrep.analyses.analysis import Context, Reading
from selfrep.analyses.separation import SeparationPart
from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.separation.summary import activations_summary
from selfrep.stats.families import FEWEST
from selfrep.stats.selection import select_and_test


def runs(context: Context, part: SeparationPart) -> Iterator[Reading]:
    """One reading of the two conditions that S compares."""
    directory, seed, sides = context.directory, context.seed, context.sides
    families = {(persona.side, persona.family) for persona in context.people}
    counts = Counter(side for side, _ in families if side in (sides or ()))
    halved = min(counts.values(), default=0) >= 2 * FEWEST

    def work(acts: xr.Dataset) -> None:
        directory.write("activations_summary", activations_summary(acts))
        directory.write("separation", separation(acts, sides=sides, seed=seed))
        if halved:
            estimand = partial(separation, sides=sides, seed=seed)
            directory.write("separation_chosen", select_and_test(acts, estimand, sides=sides, seed=seed))

    yield Reading(
        name="separation",
        item=part.item,
        conditions=("you", "user"),
        site=part.site,
        layers=part.layers,
        depths=part.depths,
        tokens=part.tokens,
        positions=None,
        makes=("activations_summary", "separation", *(["separation_chosen"] if halved else [])),
        work=work,
    )
