"""S, separation: where the activations of two sides of personas part."""

from __future__ import annotations

from typing import Literal

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import ActivationsPart, StudyMaterial


class SeparationPart(ActivationsPart):
    """Where the activations of the two sides part (S).

    Fields:
        item: the question under which activations are compared.
        site, layers: where they are read (None: every layer).
        tokens: "position" for a map over single tokens, "segment" for means over segments.
    """

    tokens: Literal["position", "segment"] = "position"

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for an unknown item, and for a study that contrasts no two sides."""
        super().check(material)
        material.require_sides()


SEPARATION = Analysis(
    "separation",
    "S: how far the activations of two sides of personas lie apart, at each layer and token",
    SeparationPart,
    runs="selfrep.analyses.separation.runs:runs",
    report="selfrep.analyses.separation.report:REPORT",
)
