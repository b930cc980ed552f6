"""Cards made by hand: what was said of organisms that nobody grew."""

from __future__ import annotations

from selfrep.analyses.answers import Answer
from selfrep.analyses.bleed.truth import B
from selfrep.analyses.default_axis.truth import LAMBDA
from selfrep.analyses.directness.truth import D
from selfrep.models.external import Component
from selfrep.validation import external as elsewhere
from selfrep.validation.card import Card, Examination, ExternalExamination
from selfrep.validation.claims import Abstention
from selfrep.validation.maps import Mark
from selfrep.validation.nulls import Deal
from selfrep.validation.rows import rows


def examination(
    kind: str = "bleed", noise: float = 0.2, *, t: float = 1.0, s: float = 1.0, b: float = 0.4
) -> Examination:
    return Examination(
        name=f"organism:{kind}?seed=1&noise={noise:g}",
        kind=kind,
        noise=noise,
        answers=(
            Answer(B, "", 0.4, b, b - 0.02, b + 0.02, common=0.67),
            Answer(LAMBDA, "unprompted", 0.1, 0.1, 0.0, 0.2),
            Answer(D, "", None, float("nan"), float("nan"), float("nan"), reason="nothing moves"),
        ),
        marks=(
            Mark("T", "causal", t, 0.9, 0.02),
            Mark("S", "causal", 0.9, 0.4, 1.0),
            Mark("S", "present", s, 0.95),
            Mark("attribution alone", "causal", 0.8, 0.5, 1.0),
            Mark("raw distance", "present", 0.7, 0.4),
        ),
        abstentions=(Abstention("what_writes", False, 0.0),),
        deals=(Deal(False, True, 0.02, 0.3, False, True, True),) * 5,
    )


def external(name: str = "Tracr reverse", t: float = 0.9) -> ExternalExamination:
    scores = {Component(0, 0): {"T": 1.0, "attribution alone": 0.0}, Component(0): {"T": 0.0, "attribution alone": 0.1}}
    found = (Mark("T", "causal", t, 0.8), Mark("attribution alone", "causal", 0.25, 0.5))
    return ExternalExamination(name, name.split()[0], 32, scores, frozenset({Component(0, 0)}), found)


def card(*organisms: Examination, own: tuple[str, ...] = (), others: tuple[ExternalExamination, ...] = ()) -> Card:
    chosen = organisms or (examination(), examination(noise=0.0))
    made = (*rows(chosen, own), *elsewhere.rows(others))
    return Card(made, chosen, others, quick=True, seconds=12.3, provenance={"selfrep": "0.0"})
