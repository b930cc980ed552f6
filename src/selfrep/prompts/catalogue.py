"""An ordered set of named entries: what a set of personas and a battery of items have in common.

Found by name, walked in order, cut and joined; always frozen. A name that is not there is answered with the names that
look like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from typing_extensions import Self

from selfrep.errors import SelfrepError
from selfrep.prompts.yaml_errors import Named, close_match

T = TypeVar("T", bound=Named)


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

    def __or__(self, other: Self) -> Self:
        """Both sets; where a name is in both, the right one's entry, as with dictionaries."""
        merged = {entry.name: entry for entry in (*self.entries, *other.entries)}
        return type(self)(tuple(merged.values()))

    def names(self) -> tuple[str, ...]:
        """All names, in order."""
        return tuple(entry.name for entry in self.entries)

    def select(self, names: Iterable[str]) -> Self:
        """The named entries, in the order of the names. Raises SelfrepError for names that are not there."""
        wanted = [names] if isinstance(names, str) else names
        return type(self)(tuple(self[name] for name in wanted))
