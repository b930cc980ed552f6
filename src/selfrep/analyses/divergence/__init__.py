"""Δ, divergence: how far each persona lies from the model's own self."""

from __future__ import annotations

from typing import Literal

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import ActivationsPart, StudyMaterial


class DivergencePart(ActivationsPart):
    """How far each persona lies from the model's own self (Δ).

    Fields:
        item: the question under which activations are compared.
        site, layers: where they are read (None: every layer).
        tokens: "position" for a map over single tokens, "segment" for means over segments.
        positions: at which tokens, counted from the end (None: all that follow the system text).
    """

    tokens: Literal["position", "segment"] = "position"
    positions: tuple[int, ...] | None = None

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for an unknown item, too few neutral texts, and personas in one paraphrase."""
        super().check(material)
        if few := [persona.name for persona in material.people if len(persona.neutral) < 2]:
            raise ValueError(
                f"measures from the unprompted self, which needs at least two neutral texts, better eight; "
                f"{few[0]!r} brings one"
            )
        if few := [persona.name for persona in material.people if persona.n_paraphrases < 2]:
            raise ValueError(
                f"multiplies different paraphrases of a persona, of which each needs at least two, better four; "
                f"{few[0]!r} has one"
            )


DIVERGENCE = Analysis(
    "divergence",
    "Δ: how far each persona lies from the model's own self, at each layer and token",
    DivergencePart,
    runs="selfrep.analyses.divergence.runs:runs",
    report="selfrep.analyses.divergence.report:REPORT",
    truth="selfrep.analyses.divergence.truth:answers",
)
