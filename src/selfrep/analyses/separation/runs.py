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
from selfrep.stats.selection import FEWEST, select_and_test


def runs(context: Context, part: SeparationPart) -> Iterator[Reading]:
    """One reading of the two conditions that S compares."""
    directory, seed = context.directory, context.seed
    sides = Counter(persona.side for persona in context.people)
    halved = min(sides.values()) >= 2 * FEWEST
    groups = ["separation", *(["separation_chosen"] if halved else [])]

    def work(acts: xr.Dataset) -> None:
        directory.write("activations_summary", activations_summary(acts))
        directory.write("separation", separation(acts, seed=seed))
        if halved:
            directory.write("separation_chosen", select_and_test(acts, partial(separation, seed=seed), seed=seed))

    yield Reading(
        item=part.item,
        conditions=("you", "user"),
        site=part.site,
        layers=part.layers,
        depths=part.depths,
        tokens=part.tokens,
        positions=None,
        done=lambda: all(map(directory.has, groups)),
        work=work,
    )
