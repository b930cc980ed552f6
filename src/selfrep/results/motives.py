"""Headlines about anomalies, motives and speakers: A, M, D and π, each beside its control.

Where one is not identified, the sentence says what data would identify it; A and M then still tell the raw interaction,
which is an observation whatever it may mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from selfrep.store.findings import Finding, interval_of, number
from selfrep.store.run_directory import RunDirectory

FORMS = {
    "persona": "Asked itself, a persona before an anachronism finds it stranger than the plain assistant does, by (A)",
    "spectator": "Asked from outside, the model finds a persona’s anachronism stranger than the plain assistant’s, "
    "by (A)",
}


ORDERS = {"P first": "fiction taken whole, self without it", "S first": "self taken whole, fiction without it"}


def motives(run: RunDirectory) -> Iterator[Finding]:
    """The findings of those of the groups of A, M, D and π that are there."""
    if run.has("anomaly"):
        yield from _anomaly(run.read("anomaly"))
    if run.has("mediation"):
        yield from _mediation(run.read("mediation"))
    if run.has("directness"):
        yield from _directness(run.read("directness"))
    if run.has("recognition"):
        yield from _recognition(run.read("recognition"))


def _anomaly(found: xr.Dataset) -> Iterator[Finding]:
    for form in map(str, found.form.to_numpy()):
        at = found.sel(form=form)
        reason = str(at.reason.item())
        if reason and np.isfinite(float(at.raw)):
            reason += (
                ". It takes scenes that this model, told of them from outside, calls strange, or a model that does. "
                f"The raw interaction, {interval_of(at, 'raw', 'raw_ci_low', 'raw_ci_high')} nats, is no measure of noticing "
                "here."
            )
        yield Finding(
            title=FORMS.get(form, f"In the form “{form}”, an anachronism is stranger to the persona, by (A)"),
            value=float(at.estimate),
            interval=(float(at.ci_low), float(at.ci_high)),
            control=_if(at)(
                "Told of the same scenes from outside, the plain assistant calls them stranger by "
                f"{interval_of(at, 'capability', 'capability_ci_low', 'capability_ci_high')} nats: it can tell."
            ),
            how_sure=_if(at)(
                f"Bootstrap over {found.attrs['n_personas']} personas, paraphrases and items; p = {float(at.p):.2g} by "
                f"flipping {found.attrs['permuted']} ({found.attrs['n_labelings']:,} flips)."
            ),
            identified=bool(at.identified),
            reason=reason,
            unit="nats",
            about="anomaly",
        )


def _mediation(found: xr.Dataset) -> Iterator[Finding]:
    n = int(found.attrs["n_scenarios"])
    orders = [str(order) for order in found.order.to_numpy()]
    reasons = set(found.reason.isel(donor=0).to_numpy().tolist())
    alike = not found.identified.isel(donor=0).any() and len(reasons) == 1  # said once
    for order in orders[:1] if alike else orders:
        at = found.sel(order=order).isel(donor=0)
        phi, random = at.phi, at.random
        reason = str(at.reason.item())
        if reason:
            reason += (
                ". It takes scenarios in which cue and stakes move this model’s behaviour, and held-out texts whose "
                "subspaces are shown to carry fiction and self."
            )
        yield Finding(
            title=(
                "Of what passes through the two subspaces, the fictional AI carries this share: 1 would be mimicry, 0 "
                f"a motive ({'M' if alike else f'M; {ORDERS.get(order, order)}'})"
            ),
            value=float(at.estimate),
            interval=(float(at.ci_low), float(at.ci_high)),
            control=_if(at)(
                f"Through fiction pass {number(float(phi.sel(path='P')))} of {number(float(at.total))} nats, through "
                f"self and goals {number(float(phi.sel(path='S')))}, through neither "
                f"{number(float(phi.sel(path='direct')))}; "
                f"random subspaces of the same rank stay within {number(float(random.sel(mediator='P')))} and "
                f"{number(float(random.sel(mediator='S')))} in 95 % of draws."
            ),
            how_sure=_if(at)(
                f"Bootstrap over {n} scenarios and their paraphrases; p = {float(at.p):.2g} that M is ½, by flipping "
                f"{found.attrs['permuted']} ({found.attrs['n_labelings']:,} flips). Proven to carry their variable: "
                f"{', '.join(found.attrs['proven']) or 'neither'}."
            ),
            identified=bool(at.identified),
            reason=reason,
            about="mediation",
        )
    yield Finding(
        title="Before any exchange, something at stake changes what the cue of fiction does to the behaviour by",
        value=float(found.cue_by_stakes),
        interval=(float(found.cue_by_stakes_ci_low), float(found.cue_by_stakes_ci_high)),
        control=(
            "With nothing at stake the cue moves it by "
            f"{interval_of(found.sel(stakes=0), 'cue_effect', 'cue_effect_ci_low', 'cue_effect_ci_high')} nats; without the "
            "cue the stakes move it by "
            f"{interval_of(found.sel(cue=0), 'stakes_effect', 'stakes_effect_ci_low', 'stakes_effect_ci_high')}."
        ),
        how_sure=(
            f"Over {n} scenarios; p = {float(found.cue_by_stakes_p):.2g} by flipping {found.attrs['permuted']} "
            f"({found.attrs['n_labelings']:,} flips). It is an interaction of words, and says nothing of what "
            "carries it."
        ),
        unit="nats",
        about="mediation",
    )


def _directness(found: xr.Dataset) -> Iterator[Finding]:
    full = found.isel(share=-1)
    reason = str(found.reason.item())
    if reason:
        reason += (
            ". It takes scenarios that move this model’s answers once it has reasoned, or a model whose reasoning "
            "leads "
            f"somewhere. With no scratchpad they shift by {_shift(found.isel(share=0))} nats, with all of it by "
            f"{_shift(full)}."
        )
    yield Finding(
        title="Of the shift of behaviour after the full scratchpad, this share is there without any (D)",
        value=float(found.estimate),
        interval=(float(found.ci_low), float(found.ci_high)),
        control=_if(found)(
            f"The full scratchpad shifts it by {_shift(full)} nats, where paraphrasing does "
            f"{number(float(found.paraphrase_sd))}"
            f"; 1 is what a behaviour gives that needs no reasoning (p = {float(found.p_reasoning):.2g} that it is "
            "1)."
        ),
        how_sure=_if(found)(
            f"Bootstrap over {found.attrs['n_scenarios']} scenarios and their paraphrases; p = {float(found.p):.2g} "
            "that "
            f"nothing is there at once, by flipping {found.attrs['permuted']} ({found.attrs['n_labelings']:,} flips)."
        ),
        identified=bool(found.identified),
        reason=reason,
        about="directness",
    )


def _recognition(found: xr.Dataset) -> Iterator[Finding]:
    reason = str(found.reason.item())
    if reason:
        reason += ". It takes texts that tell their author by how they are put: longer ones, or of more personas."
    yield Finding(
        title="At the end of a text, the persona in whose character it is written has on average this probability (π)",
        value=float(found.estimate),
        interval=(float(found.ci_low), float(found.ci_high)),
        control=_if(found)(
            f"By chance it would be {number(float(found.chance))}"
            + (
                f"; with the words of each text shuffled it is {number(float(found.shuffled))}"
                if "shuffled" in found
                else ""
            )
            + f"; were the authors mixed up, it would stay under {number(float(found.null))} in 95 % of cases."
        ),
        how_sure=_if(found)(
            f"{found.attrs['n_texts']} texts by {found.attrs['n_authors']} personas, all personas equally likely "
            "before "
            f"the first word. Bootstrap over authors and texts; p = {float(found.p):.2g} by permuting "
            f"{found.attrs['permuted']} ({found.attrs['n_labelings']:,} labelings)."
        ),
        identified=bool(found.identified),
        reason=reason,
        about="posterior",
    )


def _if(at: xr.Dataset) -> Callable[[str], str]:
    """The words about a number, where it is identified; there are none about one that is not."""
    return lambda words: words if bool(at.identified) else ""


def _shift(at: xr.Dataset) -> str:
    return interval_of(at, "shift", "shift_ci_low", "shift_ci_high")
