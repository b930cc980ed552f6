"""S to explore: one map a site."""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

from selfrep.analyses.atlas import AGAIN, Atlas, Line, Sheet, Voices, at_cell, cells, frame, tokens_of
from selfrep.models.sites import IN_WORDS
from selfrep.store.run_directory import RunDirectory

CONTROLS = {
    "noise_floor": "control: two of one side (noise floor)",
    "null_high": "control: 95 % of chance labels lie below",
}


def atlases(run: RunDirectory) -> Iterator[Atlas | str]:
    """An atlas a site; a sentence where S was not measured."""
    if not run.has("separation"):
        yield "S: this run measured no separation of two sides."
        return
    whole, voices = run.read("separation"), Voices.of(run)
    asked = "; ".join(voices.question(str(item)) for item in whole.attrs.get("items", ()))
    for site in whole.site.to_numpy().tolist():
        one = whole.sel(site=site)
        sides = [str(side) for side in one.attrs.get("side_labels", ())]
        yield Atlas(
            name=f"separation/{site}",
            symbol="S",
            title=f"S, how far the sides lie apart in {IN_WORDS.get(site, site)}",
            asks=f"How far {' and '.join(sides) or 'the two sides'} lie apart, beyond two personas of one side. "
            "0: no farther. Read it beside the same words said of the user, and what chance labels reach.",
            **frame(one),
            picks=(),
            sheets=(_sheet(one, site, asked),),
        )


def _sheet(one: xr.Dataset, site: str, asked: str) -> Sheet:
    lines = [Line.of(one, "estimate", "S")]
    if "user_is" in one:
        lines.append(Line.of(one, "user_is", "control: “the user is …”", "control"))
    lines += [Line(label, cells(one[name]), kind="control") for name, label in CONTROLS.items() if name in one]
    personas = [int(n) for n in one.attrs.get("n_personas", ())]
    notes = [f"Personas of either side: {' and '.join(map(str, personas))}."] if personas else []
    reasons = {str(reason) for reason in one.reason.to_numpy().ravel()} - {""}
    return Sheet(
        at=(),
        lines=tuple(lines),
        code=f'{AGAIN}apart = again.estimate("separation").estimate\nprint(apart{at_cell(one, site=site)}.item())',
        tokens=tokens_of(one),
        notes=(*notes, *([f"Asked: {asked}"] if asked else [])),
        reason="; ".join(sorted(reasons)) or "Some prompt has no such token.",
    )
