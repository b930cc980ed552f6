"""λ from captured activations."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.analysis import Context, Reading
from selfrep.analyses.default_axis import DefaultAxisPart
from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.prompts.persona import UNPROMPTED


def runs(context: Context, part: DefaultAxisPart) -> Iterator[Reading]:
    """One reading; prompts without a persona are placed on the axis as well."""
    directory = context.directory

    def work(acts: xr.Dataset) -> None:
        located = default_axis(acts, part.default, seed=context.seed)
        kinds = {persona.name: (persona.kind, persona.kind_label) for persona in context.people}
        kinds |= {"default": ("default", "the tuned default"), UNPROMPTED: (UNPROMPTED, "no persona")}
        who = zip(located.who.values, located.condition.values, strict=True)
        kind, label = zip(*(kinds[str(name).removeprefix(f"{condition}: ")] for name, condition in who), strict=True)
        directory.write(
            "default_axis", located.assign_coords(kind=("who", list(kind)), kind_label=("who", list(label)))
        )

    yield Reading(
        name="default_axis",
        item=part.item,
        conditions=("you", "user", "neutral"),
        site=part.site,
        layers=part.layers,
        depths=part.depths,
        tokens="position",
        positions=part.positions,
        makes=("default_axis",),
        work=work,
        standardised=False,
    )
