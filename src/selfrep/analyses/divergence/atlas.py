"""Δ to explore: each persona, and each kind of them, from each reading of the self."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.atlas import AGAIN, Atlas, Line, Pick, Sheet, Spoken, Voices, at_cell, cells, frame, tokens_of
from selfrep.analyses.divergence.figures import SELVES
from selfrep.models.sites import IN_WORDS
from selfrep.prompts.persona import UNPROMPTED
from selfrep.stats.cells import place_axis
from selfrep.store.run_directory import RunDirectory

KEPT = "activations/divergence"
_READ = """\
import selfrep as sr

run = sr.open_run({path!r})  # activations of every token are not kept: this reads the number
"""


def atlases(run: RunDirectory) -> Iterator[Atlas | str]:
    """An atlas a site; a sentence where Δ was not measured."""
    if not run.has("divergence"):
        yield "Δ: this run measured no distance of personas from the self."
        return
    div, voices = run.read("divergence"), Voices.of(run)
    for site in div.site.to_numpy().tolist():
        one = div.sel(site=site)
        references = one.reference.to_numpy().tolist()
        people, kinds = one.persona.to_numpy().tolist(), one.kind.to_numpy().tolist()
        labels = one.kind_label.to_numpy().tolist() if "kind_label" in one.coords else kinds
        options = [*map(voices.label, people), *(f"all of: {label}" for label in labels)]
        made = _Made(run, one, site, voices)
        yield Atlas(
            name=f"divergence/{site}",
            symbol="Δ",
            title=f"Δ, how far each persona lies from the self in {IN_WORDS.get(site, site)}",
            asks="The squared distance between a persona and a reading of the self, as a share of the mean squared "
            "length. 0: no distance. Read it beside the same words said of the user, and two personas of one side.",
            **frame(one),
            picks=(
                Pick("From", tuple(SELVES.get(name, name) for name in references)),
                Pick("Persona", tuple(options)),
            ),
            sheets=tuple(
                sheet
                for i, reference in enumerate(references)
                for sheet in (
                    *(made.persona((i, k), reference, name) for k, name in enumerate(people)),
                    *(made.kind((i, len(people) + k), reference, name) for k, name in enumerate(kinds)),
                )
            ),
        )


class _Made:
    """The maps of a site."""

    def __init__(self, run: RunDirectory, data: xr.Dataset, site: str, voices: Voices) -> None:
        self._data, self._site, self._voices = data, site, voices
        self._items = [str(item) for item in data.attrs.get("items", ())]
        axis = place_axis(data)
        kept = run.read(KEPT, most=0.0)[axis].to_numpy() if run.has(KEPT) else ()
        self._head, self._from = (
            (AGAIN, "again")
            if set(data[axis].to_numpy().tolist()) <= set(np.asarray(kept).tolist())
            else (_READ, "run")
        )

    def persona(self, at: tuple[int, int], reference: str, persona: str) -> Sheet:
        """One persona, beside its kind, the same words said of the user, and others of its side."""
        one = self._data.sel(reference=reference, persona=persona)
        kind = str(one.kind_of.item()) if "kind_of" in one.coords else ""
        lines = [Line.of(one, "estimate", "Δ of this persona")]
        if kind in one.kind.to_numpy():
            lines.append(Line.of(one.sel(kind=kind), "kind_estimate", "Δ, mean of its kind", "mean"))
        if "user_is" in one:
            lines.append(Line("control: “the user is …”", cells(one.user_is), kind="control"))
        if "side_of" in one.coords and one.side_of.item() in one.side.to_numpy():
            within = one.within.sel(side=one.side_of.item())
            lines.append(Line("control: two personas of its side", cells(within), kind="control"))
        return self._sheet(at, [*lines, self._halves()], "estimate", reference, persona=persona)

    def kind(self, at: tuple[int, int], reference: str, kind: str) -> Sheet:
        """All personas of a kind."""
        one = self._data.sel(reference=reference, kind=kind)
        own = Line.of(one, "kind_estimate", "Δ, mean of this kind")
        p = cells(one.p) if "p" in one else None
        own = Line(own.label, own.values, own.low, own.high, p)
        user = Line("control: “the user is …”", cells(one.kind_user_is), kind="control")
        return self._sheet(at, [own, user, self._halves()], "kind_estimate", reference, kind=kind)

    def _halves(self) -> Line:
        return Line("control: two halves of the neutral texts", cells(self._data.halves), kind="control")

    def _sheet(self, at: tuple[int, int], lines: list[Line], name: str, reference: str, **who: str) -> Sheet:
        where = at_cell(self._data, reference=reference, **who, site=self._site)
        return Sheet(
            at=at,
            lines=tuple(lines),
            code=f'{self._head}far = {self._from}.estimate("divergence").{name}\nprint(far{where}.item())',
            tokens=tokens_of(self._data),
            prompts=self._prompts(who.get("persona"), reference),
            notes=tuple(f"Asked: {self._voices.question(item)}" for item in self._items),
            reason="Some prompt has no such token; of a reading of the self from itself there is no distance.",
        )

    def _prompts(self, persona: str | None, reference: str) -> tuple[Spoken, ...]:
        item = self._items[0] if self._items else ""
        readings = [name for name, one in self._voices.people.items() if one.reading == reference]
        itself = UNPROMPTED if reference == UNPROMPTED else (readings or [""])[0]
        ends = (("persona", persona), ("self", itself))
        return tuple(
            spoken for role, name in ends if name for spoken in self._voices.spoken(role, name, item, range(100))
        )
