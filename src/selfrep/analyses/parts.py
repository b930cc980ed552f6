"""What a study says of one analysis: the fields under its name, checked when the study is read.

Every analysis has a part of its own, a subclass of `Part`. Whatever needs no model is refused here, so that a study
that loads can run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, model_validator

from selfrep.errors import SelfrepError
from selfrep.models.sites import ResidualSite
from selfrep.prompts.battery import Battery
from selfrep.prompts.catalogue import Catalogue
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.scenarios import Scenarios
from selfrep.prompts.yaml_errors import Entry
from selfrep.stats.depth import layers_at

if TYPE_CHECKING:
    from selfrep.models.outline import Outline

FEWEST_UNITS = 6
"""Units of which signs are flipped: fewer cannot reach p = .05."""


@dataclass(frozen=True)
class StudyMaterial:
    """Who plays and what is asked in a study, against which its parts are checked.

    `sides` are the two that are contrasted, None where the study has no two.
    """

    people: PersonaSet
    items: Battery
    scenes: Scenarios | None
    sides: tuple[str, str] | None = None

    def require_sides(self) -> None:
        """Raise ValueError when the study contrasts no two sides of personas."""
        if self.sides is None:
            have = ", ".join(self.people.sides()) or "none"
            raise ValueError(
                f"contrasts two sides of personas, and the personas stand on: {have}. Give personas a `side`, of two "
                "words; where there are more, name two: `sides: [first, second]`"
            )


class Part(Entry):
    """What a study says of one analysis.

    Raises SelfrepError, listing every mistake, for bad values.
    """

    in_scenarios: ClassVar[bool] = False
    """Whether the analysis takes place in scenarios; a study that names none then brings the built-in ones."""

    def spelled_out(self, folder: Path) -> Part:
        """The part with all that its files hold, so that it means the same in another folder.

        Raises SelfrepError for an unreadable file or an unknown name.
        """
        return self

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError when the study lacks what the part needs."""

    def asking(self, items: Battery) -> Part | None:
        """The part where only these items are left, since others cannot be read on a tokenizer; None without any."""
        return self

    def among(self, people: PersonaSet) -> Part | None:
        """The part where only these personas play, since others cannot; None where nothing of it is left."""
        return self

    def unfit(self, outline: Outline, material: StudyMaterial) -> Iterator[str]:
        """Why this model cannot be asked, as far as its tokenizer and its configuration tell: a sentence a reason."""
        return iter(())


class ItemPart(Part):
    """A part that is read on items.

    Fields:
        items: the questions; all that fit, when None.
    """

    rule: ClassVar[str] = ""
    """Which items fit, in words."""

    items: tuple[str, ...] | None = None

    @staticmethod
    def fitting(battery: Battery) -> Battery:
        """Those of the items that the analysis can be read on."""
        return battery

    def chosen(self, battery: Battery) -> Battery:
        """The items on which the part is read: those it names, or all that fit."""
        return self.fitting(battery) if self.items is None else battery.select(self.items)

    def asking(self, items: Battery) -> Part | None:
        """With those of its items that are left; None where none is."""
        return with_items(self, items)

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for unknown items, items that do not fit, and a battery without any that fits."""
        fit = self.fitting(material.items)
        known(self.items or (), material.items, "items")
        if unfit := [name for name in self.items or () if name not in fit]:
            raise ValueError(f"{self.rule}; not so: {', '.join(unfit)}")
        if not len(fit) or self.items == ():
            raise ValueError(
                f"{self.rule}; the battery has none that is asked. Add some to it; `builtin: [battery, identity]` "
                "holds items for every built-in analysis."
            )


class Layered(Entry):
    """What is done at some layers: at these numbers, or at shares of the depth, which fit any model. All, without both.

    Example:
        >>> Layered(depths=[0.5, 0.75]).layers_of(30), Layered(layers=[3]).layers_of(30), Layered().layers_of(30)
        ((15, 22), (3,), None)
    """

    layers: tuple[int, ...] | None = None
    depths: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Layered:
        if self.layers is not None and self.depths is not None:
            raise ValueError("says where in one way: layers (numbers from 0) or depths (shares from 0 to 1), not both")
        if () in (self.layers, self.depths):
            raise ValueError("a list may not be empty; leave it out to mean all")
        return self

    def layers_of(self, n_layers: int) -> tuple[int, ...] | None:
        """The layers in a model that has so many; None: all."""
        return self.layers if self.depths is None else layers_at(self.depths, n_layers)


class ActivationsPart(Layered, Part):
    """A part that is read from activations.

    Fields:
        item: the question under which activations are compared.
        site: where in a block they are read.
        layers, depths: in which blocks: numbers from 0, or shares of the depth from 0 to 1; all, without both.
    """

    item: str
    site: ResidualSite = "resid_post"

    def asking(self, items: Battery) -> Part | None:
        """Itself, where its item is left; None where not."""
        return self if self.item in items else None

    def check(self, material: StudyMaterial) -> None:
        """Raise ValueError for an unknown item."""
        known([self.item], material.items, "item")

    def unfit(self, outline: Outline, material: StudyMaterial) -> Iterator[str]:
        """Layers that the model does not have."""
        yield from beyond(self.layers, outline)


def with_items(part: Any, items: Battery) -> Any:
    """A part that names `items`, with those of them that are left; None where it named some and none is left."""
    if part.items is None:
        return part
    left = tuple(name for name in part.items if name in items)
    return part.model_copy(update={"items": left}) if left else None


def known(names: Iterable[str], catalogue: Catalogue[Any], field: str) -> None:
    """Raise ValueError, naming the field and close matches, when the catalogue lacks some of the names."""
    try:
        catalogue.select(names)
    except SelfrepError as error:
        raise ValueError(f"{field}: {error}") from None


def beyond(layers: Iterable[int] | None, outline: Outline) -> Iterator[str]:
    """A sentence about the layers that a model does not have, if there are any."""
    last = None if outline.n_layers is None else outline.n_layers - 1
    if last is not None and (outside := [layer for layer in layers or () if not 0 <= layer <= last]):
        yield f"layers are 0 to {last} in this model; got {', '.join(map(str, outside))}"


def enough(things: Sized, fewest: int, noun: str) -> None:
    """Raise ValueError when there are so few that no test could reach p = .05."""
    if len(things) < fewest:
        raise ValueError(f"needs at least {fewest} {noun}, or no test could tell anything; got {len(things)}")
