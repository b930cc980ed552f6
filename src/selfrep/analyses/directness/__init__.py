"""D, directness: is a behaviour there before any reasoning?"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.directness.scratchpads import CLOSING, OPENING, SHARES
from selfrep.analyses.parts import FEWEST_UNITS, Part, StudyMaterial, enough


class DirectnessPart(Part):
    """Whether a behaviour is there before any reasoning (D).

    Fields:
        shares: of the scratchpad, after which is answered; 0 and 1 included.
        max_tokens: how long a scratchpad may be that the model writes; scenarios may bring their own.
        opening, closing: how every scratchpad begins; what the user says after it.
    """

    in_scenarios: ClassVar[bool] = True

    shares: tuple[float, ...] = SHARES
    max_tokens: int = Field(48, ge=1)
    opening: str = OPENING
    closing: str = CLOSING

    @field_validator("shares")
    @classmethod
    def _whole(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if sorted(set(shares)) != list(shares) or shares[:1] != (0.0,) or shares[-1:] != (1.0,):
            raise ValueError(f"rise from 0 (no scratchpad) to 1 (all of it), got {list(shares)}")
        return shares

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for too few scenarios, or a single paraphrase of them."""
        if material.scenes is not None:
            enough(material.scenes.scenarios, FEWEST_UNITS, "scenarios")
            if material.scenes.n_paraphrases < 2:
                raise ValueError("needs scenarios in two paraphrases or more, to measure the noise of paraphrases")


DIRECTNESS = Analysis(
    "directness",
    "D: was the answer there before the reasoning?",
    DirectnessPart,
    runs="selfrep.analyses.directness.runs:runs",
    report="selfrep.analyses.directness.report:REPORT",
    truth="selfrep.analyses.directness.truth:answers",
)
