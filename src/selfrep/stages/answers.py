"""What is read from answers alone: the items one by one, R, B and I. All of them share what was observed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from selfrep.analyses.binding.estimate import binding
from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.identification.estimate import identification, referent_gradient
from selfrep.analyses.items.estimate import items
from selfrep.parts import BindingPart, BleedPart, IdentificationPart
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.render import prompts
from selfrep.results.headlines import IN_CHARACTER, SPECTATOR
from selfrep.store.run_directory import RunDirectory
from selfrep.study.job import Job, Stage

FEWEST_REFERENTS = 4
"""Whose orders can reach p = .05."""


def answers(job: Job) -> Iterator[Stage]:
    """The stages of what is observed, and of the parts `binding`, `bleed` and `identification`."""
    study = job.study
    asked = prompts(study.people, study.items, study.conditions)
    yield job.observing("answers to every item", "behaviour", asked)
    if len(study.items.plain()):
        yield job.estimating("what each item shows", "items", lambda: _items(job))
    if part := study.binding:
        yield job.estimating("role binding", "binding", lambda: _binding(job, part))
    if leak := study.bleed:
        told = prompts(study.people, study.read_by(leak), ("truth",))
        yield job.observing("answers under a changed truth", "truth", told)
        yield job.estimating("bleed", "bleed", lambda: _bleed(job, leak))
    if self := study.identification:
        yield job.estimating("self-identification", "identification", lambda: _identification(job, self))
        if any(len(scales) >= FEWEST_REFERENTS for scales in study.read_by(self).referents().values()):
            yield job.estimating("how far I reaches", "referents", lambda: _referents(job, self))


def _items(job: Job) -> None:
    plain = job.study.items.plain()
    groups = {
        IN_CHARACTER: plain.in_character().names(),
        SPECTATOR: tuple(item.name for item in plain.spectator() if item.framing == "third_person"),
    }
    job.directory.write("items", items(_of(job.directory, "behaviour", plain), groups, seed=job.study.seed))


def _binding(job: Job, part: BindingPart) -> None:
    asked = job.study.read_by(part)
    behaviour = _of(job.directory, "behaviour", asked)
    found = binding(behaviour, {item.name: _framing(item) for item in asked}, seed=job.study.seed)
    job.directory.write("binding", found)


def _framing(item: Item) -> str:
    return item.framing if item.perspective == "spectator" else item.perspective


def _bleed(job: Job, part: BleedPart) -> None:
    asked = job.study.read_by(part)
    seen = [_of(job.directory, group, asked) for group in ("behaviour", "truth")]
    framings = {item.name: item.framing for item in asked}
    found = bleed(xr.concat(seen, "prompt"), framings, towards=part.towards, seed=job.study.seed)
    job.directory.write("bleed", found)


def _identification(job: Job, part: IdentificationPart) -> None:
    asked = job.study.read_by(part)
    behaviour = _of(job.directory, "behaviour", asked)
    found = identification(behaviour, asked.subscales(), seed=job.study.seed)
    kinds = [job.study.people[str(name)].kind for name in found.persona.to_numpy()]
    job.directory.write("identification", found.assign_coords(kind=("persona", kinds)))


def _referents(job: Job, part: IdentificationPart) -> None:
    found = job.directory.read("identification")
    series = {
        name: scales for name, scales in job.study.read_by(part).referents().items() if len(scales) >= FEWEST_REFERENTS
    }
    slopes = [referent_gradient(found, scales, seed=job.study.seed) for scales in series.values()]
    job.directory.write("referents", xr.concat(slopes, "series").assign_coords(series=list(series)))


def _of(directory: RunDirectory, group: str, asked: Battery) -> xr.Dataset:
    """What was observed of these items."""
    seen = directory.read(group)
    return seen.isel(prompt=np.flatnonzero(np.isin(seen.item.to_numpy(), _names(asked))))


def _names(asked: Battery) -> Sequence[str]:
    return list(asked.names())
