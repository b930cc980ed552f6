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
        people = {persona.name: (persona.label, persona.kind, persona.kind_label) for persona in context.people}
        people |= {
            "default": ("the tuned default", "default", "the tuned default"),
            UNPROMPTED: ("no persona", UNPROMPTED, "no persona"),
        }
        who = list(zip(located.who.values, located.condition.values, strict=True))
        bare = [str(name).removeprefix(f"{condition}: ") for name, condition in who]
        said = [str(name).removesuffix(own) for (name, _), own in zip(who, bare, strict=True)]
        label, kind, kind_label = (list(column) for column in zip(*map(people.__getitem__, bare), strict=True))
        labels = {
            "kind": kind,
            "kind_label": kind_label,
            "who_label": [a + b for a, b in zip(said, label, strict=True)],
        }
        directory.write("default_axis", located.assign_coords({k: ("who", v) for k, v in labels.items()}))

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
