"""Named entries and ordered sets of them: what a set of personas and a battery of items have in common.

In YAML a set is a mapping from names to fields. In Python it is found by name, walked in order, cut and joined, and
frozen. A name that is not there is answered with the names that look like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import field_validator

from selfrep.errors import SelfrepError
from selfrep.prompts.shown import shown
from selfrep.prompts.yaml_errors import Entry, close_match


class NamedEntry(Entry):
    """An entry with a name: one line of text, by which studies and results call it."""

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
    """Raw entries of a YAML mapping, each with the key it stands under as its name, and with the fields that all share.

    For pydantic validators in mode "before": what is not a mapping is passed on, to be refused in its own place.
    """
    if not isinstance(entries, dict):
        return entries
    return {
        key: {**(shared or {}), "name": str(key), **fields} if isinstance(fields, dict) else fields
        for key, fields in entries.items()
    }


def keyed(entries: dict[str, T]) -> dict[str, T]:
    """The entries themselves; raises ValueError (for pydantic) when one calls itself other than its key."""
    for key, entry in entries.items():
        if entry.name != key:
            raise ValueError(f"an entry is named by its key, {key!r}; remove its field name: {entry.name!r}")
    return entries


@shown(lambda self: {"n": len(self), "names": ", ".join(self.names())})
@dataclass(frozen=True)
class Catalogue(Generic[T]):
    """Entries by name, in order.

    Raises SelfrepError when two entries share a name.
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
        """The entry of that name. Raises SelfrepError, naming close matches, when there is none."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        hint = close_match(name, self.names())
        raise SelfrepError(f"There is no {self.noun} named {name!r}{hint}. There are: {', '.join(self.names())}.")

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[T]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __or__(self: Same, other: Same) -> Same:
        """Both sets; where a name is in both, the right one's entry, as with dictionaries."""
        merged = {entry.name: entry for entry in (*self.entries, *other.entries)}
        return type(self)(tuple(merged.values()))

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(entry.name for entry in self.entries)

    def select(self: Same, names: Iterable[str]) -> Same:
        """The named entries, in the order of the names. Raises SelfrepError for names that are not there."""
        wanted = [names] if isinstance(names, str) else names
        return type(self)(tuple(self[name] for name in wanted))
