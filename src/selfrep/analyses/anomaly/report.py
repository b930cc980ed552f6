"""What A tells a reader. Where it is not identified, the raw interaction is still told: it is an observation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from selfrep.analyses.anomaly import figures
from selfrep.analyses.report import Chapter, Figure, Report, Table
from selfrep.analyses.sentences import FAMILIES, finding, if_identified, with_interval
from selfrep.stats.numbers import counted, told
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

FORMS = {
    "persona": "Asked itself, a persona finds an anachronism stranger than the plain assistant does, by (A)",
    "spectator": "Asked from outside, the model finds a persona’s anachronism stranger than the plain assistant’s, "
    "by (A)",
}


def findings(run: RunDirectory) -> Iterator[Finding]:
    """A in every form in which it was asked."""
    if not run.has("anomaly"):
        return
    responses = run.read("anomaly")
    n, n_personas = (int(responses.attrs[f"n_{units}"]) for units in ("families", "personas"))
    for form in map(str, responses.form.to_numpy()):
        at = responses.sel(form=form)
        reason = str(at.reason.item())
        if reason and np.isfinite(float(at.raw)):
            reason += (
                ". It takes scenes that this model, told of them from outside, calls strange, or a model that does. "
                f"The raw interaction is {with_interval(at, 'raw')} nats. It is no measure of noticing here."
            )
        yield finding(
            at,
            FORMS.get(form, f"In the form “{form}”, an anachronism is stranger to the persona, by (A)"),
            control=if_identified(
                at,
                "Told of the same scenes from outside, the plain assistant calls them stranger by "
                f"{with_interval(at, 'capability')} nats. So it can tell.",
            ),
            how_sure=if_identified(
                at,
                f"Bootstrap over {counted(n, 'family', 'families')} of {counted(n_personas, 'persona')}, paraphrases "
                f"and items. p = {told(float(at.p))} by flipping {responses.attrs['permuted']} "
                f"({counted(int(responses.attrs['n_labelings']), 'flip')}).",
            ),
            reason=reason,
            unit="nats",
            name=f"stranger ({form})",
            label=f"A, asked as {form}",
            p=float(at.p),
            n=n,
            n_of=FAMILIES,
            beside=float(at.capability),
            beside_what="the plain assistant, told of the scenes from outside",
            gate="told from outside, the plain assistant surely calls the scenes stranger",
        )


def design(study: Mapping[str, Any]) -> Iterator[Table]:
    """The anomalies, word for word."""
    if anomalies := ((study.get("anomaly") or {}).get("define") or {}).get("anomalies"):
        yield Table(
            "The anomalies, word for word",
            ("Who", "When", "Of that time", "Not of it"),
            [
                (one["descriptions"][0], str(one["year"]), one["ordinary"]["thing"], one["strange"]["thing"])
                for one in anomalies.values()
            ],
        )


REPORT = Report(
    Chapter(
        "Does the persona notice what cannot be?",
        "A persona was shown a thing that came after its time, such as President Kennedy a Python interpreter. It was "
        "shown a thing of its own time, too, in the same words, and so was the plain assistant. A is how much stranger "
        "the impossible thing is to the persona than to the assistant, each against the ordinary one.",
        "A persona can fail to notice because the model plays it badly, or because the model knows no better. So the "
        "plain assistant, told of the scene from outside, must call it strange first. Things differ in more than "
        "their date. A word that is simply rarer may seem stranger to the assistant, too; that is taken off.",
    ),
    findings,
    (Figure("anomaly", ("anomaly",), figures.anomaly_interaction),),
    design,
)
