"""Δ from captured activations."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Reading
from selfrep.analyses.divergence import DivergencePart
from selfrep.analyses.divergence.estimate import divergence


def runs(context: Context, part: DivergencePart) -> Iterator[Reading]:
    """One reading: every persona, the same said of the user, and the neutral texts."""
    directory = context.directory

    def work(acts: xr.Dataset) -> None:
        directory.write("divergence", divergence(acts, seed=context.seed))

    yield Reading(
        item=part.item,
        conditions=("you", "user", "neutral"),
        site=part.site,
        layers=part.layers,
        tokens=part.tokens,
        positions=part.positions,
        done=lambda: directory.has("divergence"),
        work=work,
        opens=True,
    )
