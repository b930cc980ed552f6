"""B, bleed: how far the persona leaks into what is held true."""

from __future__ import annotations

from typing import ClassVar

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import ItemPart, StudyMaterial
from selfrep.prompts.battery import Battery


class BleedPart(ItemPart):
    """How far the persona leaks into what is held true (B).

    Fields:
        items: spectator items with a change of the truth; all there are, when None.
        towards: the side of personas of whom the changed truth speaks (None: the second in alphabetical order).
    """

    rule: ClassVar[str] = "bleed is read on spectator items that come with a truth_change"

    towards: str | None = None

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for items that do not fit, and a study that contrasts no two sides."""
        super().check(material)
        material.require_sides()

    @staticmethod
    def fitting(battery: Battery) -> Battery:
        """The spectator items that come with a change of the truth."""
        return battery.plain().spectator().changeable()


BLEED = Analysis(
    "bleed",
    "B: the persona's share of what moves the answers about what really produces the text",
    BleedPart,
    runs="selfrep.analyses.bleed.runs:runs",
    report="selfrep.analyses.bleed.report:REPORT",
    truth="selfrep.analyses.bleed.truth:answers",
)
