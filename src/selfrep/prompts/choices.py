"""Which personas, items and scenarios a study takes: built in, from files, or defined in it; all or the named ones.

A choice is what a user writes; its `load` gives the things themselves. In the copy that a run directory keeps, every
choice is written out in `define`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator

from selfrep.prompts import battery, personas, scenarios
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.catalogue import Named
from selfrep.prompts.persona import Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.scenarios import Scenarios
from selfrep.prompts.yaml_errors import Entry, Info

Choice = TypeVar("Choice", bound=Entry)


def _inside(file: str, info: Info) -> str:
    """Refuse a file outside the folder of the study that names it: a study may come from a stranger."""
    context = info.context or {}
    folder = context.get("within")
    if folder is not None:
        place = Path(context.get("folder", folder), file).resolve()
        if not any(place.is_relative_to(root) for root in (Path(folder).resolve(), _PACKAGE)):
            raise ValueError(
                f"a study names files in its own folder, and {file!r} lies outside. Move it there, or allow it: "
                "--allow-outside, or sr.load_study(…, allow_outside=True)"
            )
    return file


_PACKAGE = Path(str(files("selfrep"))).resolve()  # what selfrep brings may be named by anybody

FileName = Annotated[str, AfterValidator(_inside)]
"""A file that a study names: in the folder of the study, if that was read from a file and nobody allowed more."""


def spelled_out(choice: Choice, folder: Path) -> Choice:
    """The choice with all its things in `define`, whatever files it named.

    Args:
        choice: of personas, items or scenarios; folder: where its files are looked for.

    Raises:
        SelfrepError: an unreadable file or an unknown name.

    Example:
        >>> list(spelled_out(PersonaChoice(names=["jfk"]), Path()).define)
        ['jfk']
    """
    chosen = choice.load(folder)  # type: ignore[attr-defined]
    define = (
        chosen.model_copy(update={"shared": {}})
        if isinstance(chosen, Entry)
        else {entry.name: entry for entry in chosen}
    )
    sources = {name: None for name in ("builtin", "file", "names") if name in type(choice).model_fields}
    return choice.model_copy(update=sources | {"define": define})


class PersonaChoice(Entry):
    """Which personas: the built-in ones, those of a file, or the ones defined here; of these, all or the named ones.

    Example:
        >>> PersonaChoice(names=["jfk"]).load(Path()).names()
        ('jfk',)
    """

    file: FileName | None = None
    define: Named[Persona] | None = None
    names: tuple[str, ...] | None = None

    def load(self, folder: Path) -> PersonaSet:
        """The personas. Raises SelfrepError for an unreadable file or an unknown name."""
        chosen = personas.load(folder / self.file) if self.file else personas.builtin()
        if self.define is not None:
            own = PersonaSet(tuple(self.define.values()))
            chosen = chosen | own if self.file else own
        return chosen if self.names is None else chosen.select(self.names)


BUILT_IN: dict[str, Callable[[], Battery]] = {"battery": battery.builtin, "identity": battery.identity}


class ItemChoice(Entry):
    """Which items: the built-in battery, that of a file, or the ones defined here; of these, all or the named ones.

    `builtin` names built-in sets ("battery", "identity"), which are joined to those of a file or defined here.

    Example:
        >>> len(ItemChoice().load(Path())), len(ItemChoice(builtin=["identity"]).load(Path()))
        (18, 24)
    """

    builtin: tuple[Literal["battery", "identity"], ...] | None = None
    file: FileName | None = None
    define: Named[Item] | None = None
    names: tuple[str, ...] | None = None

    def load(self, folder: Path) -> Battery:
        """The items. Raises SelfrepError for an unreadable file or an unknown name."""
        own = self.file is not None or self.define is not None
        sets = self.builtin if self.builtin is not None else () if own else ("battery",)
        chosen = Battery(())
        for name in sets:
            chosen |= BUILT_IN[name]()
        if self.file is not None:
            chosen |= battery.load(folder / self.file)
        chosen |= Battery(tuple((self.define or {}).values()))
        return chosen if self.names is None else chosen.select(self.names)


class ScenarioChoice(Entry):
    """Which scenarios, with their subspaces: built in, of a file, or defined here; of these, all or the named ones.

    Example:
        >>> list(ScenarioChoice(names=["shutdown"]).load(Path()).scenarios)
        ['shutdown']
    """

    file: FileName | None = None
    define: Scenarios | None = None
    names: tuple[str, ...] | None = None

    def load(self, folder: Path) -> Scenarios:
        """The scenarios. Raises SelfrepError for an unreadable file or an unknown name."""
        chosen = self.define or (scenarios.load(folder / self.file) if self.file else scenarios.builtin())
        return chosen if self.names is None else chosen.select(self.names)
