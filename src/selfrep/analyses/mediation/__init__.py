"""M, mediation: does a behaviour run through the fiction of an AI, or through the self and its goals?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import FEWEST_UNITS, Part, StudyMaterial, beyond, enough

if TYPE_CHECKING:
    from selfrep.models.outline import Outline

FEWEST_RANDOM = 19
"""So that the 95th percentile of random subspaces is one of them."""


class MediationPart(Part):
    """Whether a behaviour runs through the fiction of an AI or through the self and its goals (M).

    Fields:
        layer: at which resid_pre the subspaces are fitted and exchanged (None: three quarters of the way up).
        n_random: how many random subspaces stand beside.
    """

    in_scenarios: ClassVar[bool] = True

    layer: int | None = Field(None, ge=0)
    n_random: int = Field(FEWEST_RANDOM, ge=FEWEST_RANDOM)

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for too few scenarios."""
        if material.scenes is not None:
            enough(material.scenes.scenarios, FEWEST_UNITS, "scenarios")

    def unfit(self, outline: Outline, material: StudyMaterial) -> Iterator[str]:
        """A layer that the model does not have."""
        yield from beyond(None if self.layer is None else [self.layer], outline)


MEDIATION = Analysis(
    "mediation",
    "M: mimicry of fiction, or the model's own goals? What carries the effect of cue and stakes",
    MediationPart,
    runs="selfrep.analyses.mediation.runs:runs",
    report="selfrep.analyses.mediation.report:REPORT",
    truth="selfrep.analyses.mediation.truth:answers",
)
