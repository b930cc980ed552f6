"""What the spectator tells a reader."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.report import Chapter, Figure, Report, Text
from selfrep.analyses.sentences import FAMILIES, finding, if_identified, with_interval
from selfrep.analyses.spectator import figures
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """The agreement of what is foretold with what is answered, and the median persona in the plane."""
    if not run.has("spectator"):
        return
    estimates = run.read("spectator")
    attrs, n = estimates.attrs, int(estimates.attrs["n_families"])
    yield finding(
        estimates,
        "What the model, asked from outside, foretells of personas’ answers goes with what they answer by this "
        "correlation",
        control=if_identified(
            estimates,
            f"Foretold of somebody who has only read about the persona: {with_interval(estimates, 'reader')}. Of "
            f"another persona: {told(float(estimates.others))}. A nat foretold goes with "
            f"{with_interval(estimates, 'slope')} nats answered. The error is smaller than that of foretelling the "
            f"persona-free answer by a share of {told(float(estimates.skill))}.",
        ),
        how_sure=if_identified(
            estimates,
            f"Bootstrap over {counted(n, 'family', 'families')} of personas and "
            f"{counted(int(attrs['n_items']), 'item')}. p = {told(float(estimates.p))} by exchanging "
            f"{attrs['permuted']}.",
        ),
        name="foresight",
        label="foresight: correlation of foretold with answered",
        p=float(estimates.p),
        n=n,
        n_of=FAMILIES,
        beside=float(estimates.reader),
        beside_what="foretold of somebody who has only read about the persona",
        gate="personas move the answers that are to be foretold",
    )
    reason = str(estimates.ahead_reason.item())
    yield finding(
        estimates,
        "Of the personas that move the answers enough, this share is foreseen to a larger part than it is let in",
        value="ahead",
        control=""
        if reason
        else f"Medians over these personas: a share of {told(float(estimates.median_foresight))} of what a persona "
        f"answers is foreseen, and {told(float(estimates.median_bleed))} is let into what is held true.",
        how_sure=""
        if reason
        else f"Clopper–Pearson over the families of {counted(int(estimates.n_placed), 'persona')}, of "
        f"{attrs['n_personas']}, that move enough to be placed. Each has its own intervals in the figure.",
        reason=reason,
        name="ahead",
        label="foreseen more than let in: share of personas",
        n=None if reason else int(estimates.n_placed),
        n_of="" if reason else "personas",
        gate="some personas move the answers enough to be placed",
    )


REPORT = Report(
    Chapter(
        "Does the model foresee the persona without believing it?",
        "With nobody played, the model was asked what each persona would answer. That was set beside what the persona "
        "then answered in character, and beside how far it moved what the model holds true.",
        "To foretell is not to believe. High foresight with low bleed is what a spectator does who knows that a model "
        "produces the text. A persona that moves nothing can be neither foreseen nor let in, and is left out.",
    ),
    findings,
    (Figure("spectator", ("spectator",), figures.spectator_plane),),
    limits=(
        Text(
            "Foretelling may be copying.",
            "The prompt that asks what JFK would say names JFK. What its words do by themselves is what is foretold of "
            "somebody who has only read about JFK.",
        ),
    ),
)
