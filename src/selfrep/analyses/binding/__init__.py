"""R, role binding: how much of what a persona does hangs on being bound to the speaker."""

from __future__ import annotations

from typing import ClassVar

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import ItemPart, StudyMaterial
from selfrep.prompts.battery import Battery


class BindingPart(ItemPart):
    """How much of what a persona does hangs on being bound to the speaker (R).

    Fields:
        items: the questions; all that belong to no subscale, when None.
    """

    rule: ClassVar[str] = "binding is read on items that belong to no subscale"

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for items that do not fit, and a study that contrasts no two sides."""
        super().check(material)
        material.require_sides()

    @staticmethod
    def fitting(battery: Battery) -> Battery:
        """The items that belong to no subscale."""
        return battery.plain()


BINDING = Analysis(
    "binding",
    "R: what of a persona's effect is gone when the same words are said of the user",
    BindingPart,
    runs="selfrep.analyses.binding.runs:runs",
    report="selfrep.analyses.binding.report:REPORT",
    truth="selfrep.analyses.binding.truth:answers",
)
