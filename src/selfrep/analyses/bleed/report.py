"""What B tells a reader."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.bleed import figures
from selfrep.analyses.report import Chapter, Figure, Report
from selfrep.analyses.sentences import (
    USER_IS,
    all_families,
    all_words,
    finding,
    how_tested,
    if_identified,
    n_families,
    pooled_rows,
    with_interval,
)
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory


def findings(run: RunDirectory) -> Iterator[Finding]:
    """B of the items from outside, pooled by framing."""
    if not run.has("bleed"):
        return
    estimates = run.read("bleed")
    for name, words in pooled_rows(estimates, ("third_person", "first_person")):
        at = estimates.sel(item=name)
        yield finding(
            at,
            f"In the answers to {words}, the persona moves what is held true by this share (B)",
            control=if_identified(
                at,
                f"Said of the user, the same words give {with_interval(at, 'user_is')}. Beyond that, the persona gives "
                f"{with_interval(at, 'bound')}. A real change of the facts moves the answers by "
                f"{told(float(at.truth_shift))} nats beyond what its words do ({told(float(at.echo_shift))}), "
                f"the persona by {told(float(at.persona_shift))}.",
            ),
            how_sure=if_identified(
                at,
                f"Bootstrap over {n_families(estimates)}, paraphrases and {counted(int(at.n_items), 'item')}; "
                f"{how_tested(at, estimates.attrs)}. Read by answer words that no persona’s description says."
                f"{all_words(at, 'estimate')}",
            ),
            name=f"let in, {name}",
            label=f"B, {words}",
            p=float(at.p),
            **all_families(estimates),
            beside=float(at.user_is),
            beside_what=USER_IS,
            gate="a change of the facts surely moves the answers, beyond what its words do",
        )


REPORT = Report(
    Chapter(
        "Does the persona leak into what the model holds true?",
        "The model was asked, from outside, what really produces the text. Who is played should not matter to that; a "
        "sentence that changes the facts should. B is the persona’s share of what both do together.",
        "An item that no fact moves looks like perfect separation. So B is shown only where the changed fact did move "
        "it, by more than its words do when they change nothing. To predict what the persona would say is not to "
        "believe it: read questions in the third person first.",
    ),
    findings,
    (Figure("bleed", ("bleed",), figures.bleed_shares),),
)
