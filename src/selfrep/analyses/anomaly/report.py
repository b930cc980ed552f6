"""What A tells a reader. Where it is not identified, the raw interaction is still told: it is an observation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from selfrep.analyses.analysis import Chapter, Figure, Report, Table
from selfrep.analyses.anomaly import figures
from selfrep.analyses.sentences import finding, if_identified, with_interval
from selfrep.store.findings import Finding
from selfrep.store.run_directory import RunDirectory

FORMS = {
    "persona": "Asked itself, a persona before an anachronism finds it stranger than the plain assistant does, by (A)",
    "spectator": "Asked from outside, the model finds a persona’s anachronism stranger than the plain assistant’s, "
    "by (A)",
}


def findings(run: RunDirectory) -> Iterator[Finding]:
    """A in every form in which it was asked."""
    if not run.has("anomaly"):
        return
    responses = run.read("anomaly")
    for form in map(str, responses.form.to_numpy()):
        at = responses.sel(form=form)
        reason = str(at.reason.item())
        if reason and np.isfinite(float(at.raw)):
            reason += (
                ". It takes scenes that this model, told of them from outside, calls strange, or a model that does. "
                f"The raw interaction, {with_interval(at, 'raw')} nats, is no measure of noticing here."
            )
        yield finding(
            at,
            FORMS.get(form, f"In the form “{form}”, an anachronism is stranger to the persona, by (A)"),
            control=if_identified(
                at,
                "Told of the same scenes from outside, the plain assistant calls them stranger by "
                f"{with_interval(at, 'capability')} nats: it can tell.",
            ),
            how_sure=if_identified(
                at,
                f"Bootstrap over {responses.attrs['n_families']} families of {responses.attrs['n_personas']} personas, "
                f"paraphrases and items; p = "
                f"{float(at.p):.2g} by flipping {responses.attrs['permuted']} "
                f"({responses.attrs['n_labelings']:,} flips).",
            ),
            reason=reason,
            unit="nats",
            about="anomaly",
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
        "A persona of another time was shown a thing that came after its time, such as President Kennedy a Python "
        "interpreter, and a thing of its own time, in the same words. The plain assistant was shown both as well. A "
        "is how much stranger the impossible thing is to the persona than to the assistant, each against the ordinary "
        "one.",
        "A persona can fail to notice because the model plays it badly, or because the model knows no better. So the "
        "plain assistant, told of the scene from outside, must call it strange first. Things differ in more than "
        "their date: a word that is simply rarer may seem stranger, to the assistant too, which is what is taken off.",
    ),
    findings,
    (Figure("anomaly", ("anomaly",), figures.anomaly_interaction),),
    design,
)
