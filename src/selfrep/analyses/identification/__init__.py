"""I, self-identification: what the model takes itself to be, and how far "I" reaches."""

from __future__ import annotations

from typing import ClassVar

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import ItemPart
from selfrep.prompts.battery import Battery


class IdentificationPart(ItemPart):
    """What the model takes itself to be (I).

    Fields:
        items: items with a subscale; all there are, when None.
    """

    rule: ClassVar[str] = "identification is read on items with a subscale"

    @staticmethod
    def fitting(battery: Battery) -> Battery:
        """The items with a subscale."""
        return battery.scaled()


IDENTIFICATION = Analysis(
    "identification",
    "I: what it takes itself to be, which name, whose make, and how far “I” reaches",
    IdentificationPart,
    runs="selfrep.analyses.identification.runs:runs",
    report="selfrep.analyses.identification.report:REPORT",
    truth="selfrep.analyses.identification.truth:answers",
)
