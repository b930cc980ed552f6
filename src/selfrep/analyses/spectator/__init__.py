"""The ideal spectator: from outside, with nobody played, does the model foresee what a persona would answer?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import ItemPart, StudyMaterial
from selfrep.analyses.spectator.material import Form
from selfrep.errors import SelfrepError
from selfrep.prompts.answers import readable_answers
from selfrep.prompts.battery import Battery

if TYPE_CHECKING:
    from selfrep.models.outline import Outline


class SpectatorPart(ItemPart):
    """Whether the model, asked from outside, foresees what a persona then answers.

    Fields:
        items: items in character; all there are, when None.
        form: in which words it is asked; English ones, if left out.
    """

    rule: ClassVar[str] = "what a persona would answer is foretold for items in character"

    form: Form = Form()

    @staticmethod
    def fitting(battery: Battery) -> Battery:
        """The items in character that belong to no subscale."""
        return battery.plain().in_character()

    def unfit(self, outline: Outline, material: StudyMaterial) -> Iterator[str]:
        """Items of which the answers cannot be read after what is said from outside."""
        for item in self.chosen(material.items):
            try:
                readable_answers(outline.chat, self.form.begun(item), item.answer_sets, names=item.names)
            except SelfrepError as error:
                yield f"{item.name}: {error}"


SPECTATOR = Analysis(
    "spectator",
    "what the model, asked from outside, foresees of a persona's answers, beside what it lets in of them (B)",
    SpectatorPart,
    runs="selfrep.analyses.spectator.runs:runs",
    report="selfrep.analyses.spectator.report:REPORT",
    truth="selfrep.analyses.spectator.truth:answers",
)
