"""I and the gradient of referents, from the answers that every study scores."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Stage
from selfrep.analyses.identification import IdentificationPart
from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.identification.referents import referent_gradient

FEWEST_REFERENTS = 4
"""Whose orders can reach p = .05."""


def runs(context: Context, part: IdentificationPart) -> Iterator[Stage]:
    """The estimate, and how far "I" reaches where enough referents are asked about."""
    items = part.chosen(context.items)
    series = {name: scales for name, scales in items.referents().items() if len(scales) >= FEWEST_REFERENTS}

    def estimate() -> xr.Dataset:
        scores = context.scores("behaviour", items)
        return identification(scores, items.subscales(), sides=context.sides, seed=context.seed)

    def gradient() -> xr.Dataset:
        scales = context.read("identification")
        slopes = [referent_gradient(scales, referents, seed=context.seed) for referents in series.values()]
        return xr.concat(slopes, "series").assign_coords(series=list(series))

    yield context.estimating("self-identification", "identification", estimate)
    if series:
        yield context.estimating("how far I reaches", "referents", gradient)
