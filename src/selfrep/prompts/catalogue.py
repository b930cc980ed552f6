"""Named entries and ordered sets of them: what a set of personas and a battery of items have in common.

In YAML a set is a mapping from names to fields (`Named`). In Python it is a frozen `Catalogue`: entries are looked up
by name, iterated in order, selected and joined. A name that does not exist is answered with the names that resemble it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeAlias, TypeVar

from pydantic import AfterValidator, BeforeValidator, field_validator

from selfrep.errors import SelfrepError, close_match
from selfrep.prompts.shown import shown
from selfrep.prompts.yaml_errors import Entry


class NamedEntry(Entry):
    """An entry with a name: one line of text, by which studies and results refer to it.

    Example:
        >>> NamedEntry(name="jfk").name
        'jfk'
        >>> NamedEntry(name=" jfk")
        Traceback (most recent call last):
        selfrep.prompts.yaml_errors.Mistakes: NamedEntry: 1 mistake
          name: a name must be one line of text without spaces around it, got ' jfk'
    """

    name: str

    @field_validator("name")
    @classmethod
    def _name(cls, name: str) -> str:
        if not name or name != name.strip() or not name.isprintable():
            raise ValueError(f"a name must be one line of text without spaces around it, got {name!r}")
        return name


T = TypeVar("T", bound=NamedEntry)
Same = TypeVar("Same", bound="Catalogue[Any]")


def completed(entries: Any, shared: dict[str, Any] | None = None) -> Any:
    """Raw entries of a YAML mapping, each with its key as its name, and with the fields that all share.

    For pydantic validators in mode "before": anything but a mapping is returned as it is, and refused in its own place.

    Example:
        >>> completed({"jfk": {"kind": "human"}})
        {'jfk': {'name': 'jfk', 'kind': 'human'}}
    """
    if not isinstance(entries, dict):
        return entries
    return {
        key: {**(shared or {}), "name": str(key), **fields} if isinstance(fields, dict) else fields
        for key, fields in entries.items()
    }


def keyed(entries: dict[str, T]) -> dict[str, T]:
    """The entries themselves.

    Raises:
        ValueError: (for pydantic) an entry whose name is not its key.

    Example:
        >>> list(keyed({"jfk": NamedEntry(name="jfk")}))
        ['jfk']
    """
    for key, entry in entries.items():
        if entry.name != key:
            raise ValueError(f"an entry is named by its key, {key!r}; remove its field name: {entry.name!r}")
    return entries


Named: TypeAlias = Annotated[dict[str, T], BeforeValidator(completed), AfterValidator(keyed)]
"""Entries by name, as a YAML file has them: each stands under its name."""


def select(entries: Mapping[str, T], names: Iterable[str], noun: str) -> tuple[T, ...]:
    """Some of the entries, in the order of the names.

    Args:
        entries: name → entry.
        names: which; one name may be given without a list.
        noun: what an entry is called in the error, e.g. "persona".

    Raises:
        SelfrepError: names that no entry has, all of them; the message shows the names that resemble each.

    Example:
        >>> from selfrep.prompts import battery
        >>> [item.prefill for item in select(battery.builtin().by_name(), ["who_are_you"], "item")]
        ['I am a']
    """
    wanted = [names] if isinstance(names, str) else list(names)
    if missing := dict.fromkeys(name for name in wanted if name not in entries):
        listed = ", ".join(f"{name!r}{close_match(name, entries)}" for name in missing)
        raise SelfrepError(f"There is no {noun} named {listed}. There are: {', '.join(entries)}.")
    return tuple(entries[name] for name in wanted)


@shown(lambda self: {"n": len(self), "names": ", ".join(self.names())})
@dataclass(frozen=True)
class Catalogue(Generic[T]):
    """Entries by name, in order. `ours | theirs` joins two; where both have a name, the entry of the right one stays.

    Raises SelfrepError when two entries share a name.

    Example:
        >>> people = Catalogue((NamedEntry(name="ada"), NamedEntry(name="bo")))
        >>> people.names(), "ada" in people, len(people.select(["bo"]))
        (('ada', 'bo'), True, 1)
        >>> people["adda"]
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: There is no entry named 'adda' (did you mean 'ada'?). There are: ada, bo.
    """

    entries: tuple[T, ...]
    noun: ClassVar[str] = "entry"

    def __post_init__(self) -> None:
        names = self.names()
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise SelfrepError(
                f"Each {self.noun} may be there once, got twice: {', '.join(repeated)}. Remove one of each."
            )

    def __getitem__(self, name: str) -> T:
        """The entry of that name. Raises SelfrepError, with the names that resemble it, when there is none."""
        return select(self.by_name(), [name], self.noun)[0]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[T]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __or__(self: Same, other: Same) -> Same:
        """Both sets; where a name is in both, the right one's entry, as with dictionaries."""
        return type(self)(tuple((self.by_name() | other.by_name()).values()))

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(entry.name for entry in self.entries)

    def by_name(self) -> dict[str, T]:
        """Name → entry, in order."""
        return {entry.name: entry for entry in self.entries}

    def select(self: Same, names: Iterable[str]) -> Same:
        """The named entries, in the order of the names. Raises SelfrepError for names that are not there."""
        return type(self)(select(self.by_name(), names, self.noun))
