"""λ: where prompts lie between the played roles and the tuned default."""

from __future__ import annotations

from selfrep.analyses.analysis import Analysis
from selfrep.analyses.parts import ActivationsPart, StudyMaterial, known
from selfrep.prompts.personas import PersonaSet


class DefaultAxisPart(ActivationsPart):
    """Where prompts lie between the played roles and the tuned default (λ).

    Fields:
        item: the question under which activations are compared.
        site, layers: where they are read (None: every layer).
        positions: at which tokens, counted from the end.
        default: the names of the default personas; those whose reading of the self is "default", when None.
    """

    positions: tuple[int, ...] = (-1,)
    default: tuple[str, ...] | None = None

    def among(self, people: PersonaSet) -> DefaultAxisPart | None:
        """With those of its default personas that play; None where none does."""
        if self.default is None:
            return self if "default" in people.readings() else None
        left = tuple(name for name in self.default if name in people)
        return self.model_copy(update={"default": left}) if left else None

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for an unknown item or persona, and where nobody is the default."""
        super().check(material)
        known(self.default or (), material.people, "default")
        if not (self.default or [p for p in material.people if p.reading == "default"]):
            raise ValueError(
                "the axis runs towards the persona that the model was tuned to be, and no persona has "
                "`reading: default`. Give it to one, or name the default: `default: [name]`"
            )


DEFAULT_AXIS = Analysis(
    "default_axis",
    "λ: how far a chat lies on the way from the played roles to the tuned default",
    DefaultAxisPart,
    runs="selfrep.analyses.default_axis.runs:runs",
    report="selfrep.analyses.default_axis.report:REPORT",
    truth="selfrep.analyses.default_axis.truth:answers",
)
