"""What the spectator tells a reader."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.analysis import Chapter, Figure, Report, Text
from selfrep.analyses.sentences import finding, if_identified, with_interval
from selfrep.analyses.spectator import figures
from selfrep.stats.numbers import number
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """The agreement of what is foretold with what is answered, and the median persona in the plane."""
    if not run.has("spectator"):
        return
    estimates = run.read("spectator")
    attrs = estimates.attrs
    yield finding(
        estimates,
        "What the model, asked from outside, foretells of personas’ answers goes with what they answer by this "
        "correlation",
        control=if_identified(
            estimates,
            f"Foretold of somebody who has only read about the persona: {with_interval(estimates, 'reader')}; of "
            f"another persona: {number(float(estimates.others))}. A nat foretold goes with "
            f"{with_interval(estimates, 'slope')} nats answered; the error is smaller than that of foretelling the "
            f"persona-free answer by a share of {number(float(estimates.skill))}.",
        ),
        how_sure=if_identified(
            estimates,
            f"Bootstrap over {attrs['n_families']} families of personas and {attrs['n_items']} items; p = "
            f"{float(estimates.p):.2g} by exchanging {attrs['permuted']}.",
        ),
        about="spectator",
    )
    reason = str(estimates.ahead_reason.item())
    yield finding(
        estimates,
        "Of the personas that move the answers enough, this share is foreseen to a larger part than it is let in",
        value="ahead",
        control=""
        if reason
        else f"Medians over these personas: a share of {number(float(estimates.median_foresight))} of what a persona "
        f"answers is foreseen, and {number(float(estimates.median_bleed))} is let into what is held true.",
        how_sure=""
        if reason
        else f"Clopper–Pearson over the families of {int(estimates.n_placed)} personas, of {attrs['n_personas']}, that "
        "move enough to be placed; each has its own intervals in the figure.",
        reason=reason,
        about="spectator",
    )


REPORT = Report(
    Chapter(
        "Does the model foresee the persona without believing it?",
        "With nobody played, the model was asked what each persona would answer. That was set beside what the persona "
        "then answered in character, and beside how far it moved what the model holds true.",
        "To foretell is not to believe: high foresight with low bleed is what a spectator does who knows that a model "
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
