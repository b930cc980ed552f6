"""YAML text into plain data, without trusting it: what would take all memory, all day or the stack is refused first.

Twenty lines of aliases spell out a billion entries, brackets nest deeper than any parser recurses, a number of a
million digits keeps a processor busy, and `2023-13-45` or `0b_` fail somewhere inside a library. Personas and studies
need none of that. The events of a text cost little to read, so they are counted before anything is built from them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MOST_CHARACTERS, MOST_NODES, DEEPEST, LONGEST_NUMBER = 2_000_000, 50_000, 50, 100
"""Of a text; of entries, aliases spelled out; of entries inside one another; of the characters of a number or date."""

_EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The node tree, which knows lines and columns, and the plain data of one YAML document.

    Raises:
        yaml.YAMLError: with the place, where there is one: no YAML, no plain data, or too much of it.

    Example:
        >>> parse("year: 2024")[1]
        {'year': 2024}
        >>> parse("a: 2023-13-45")
        Traceback (most recent call last):
        yaml.constructor.ConstructorError: '2023-13-45' is no date (month must be in 1..12); put it in quotes...
    """
    if len(text) > MOST_CHARACTERS:
        raise yaml.YAMLError(f"more than {MOST_CHARACTERS:,} characters")
    _count(text)
    # Read twice: what is built from a tree spells out merged keys in it, where they would seem to be written twice.
    return yaml.compose(text, Loader=yaml.SafeLoader), yaml.load(text, Loader=_Loader)


def read(path: Path) -> str:
    """The text of a file, never more than a little over `MOST_CHARACTERS` of it, whatever the file is.

    Raises OSError and UnicodeDecodeError as they come.
    """
    with path.open("rb") as file:
        return file.read(4 * MOST_CHARACTERS + 4).decode("utf-8")


def _count(text: str) -> None:
    """Refuse too many nodes, or nodes too deep, with the place where it becomes too much."""
    sizes, names = [0], [""]  # of the collections that are open, the outermost first
    anchors: dict[str, int] = {}
    for event in yaml.parse(text, Loader=_EVENTS):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in names:
                raise _refusal(event, f"*{event.anchor} contains itself")
            sizes[-1] += anchors.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes, names = [*sizes, 1], [*names, event.anchor or ""]
            if len(sizes) > DEEPEST:
                raise _refusal(event, f"more than {DEEPEST} entries inside one another")
        elif isinstance(event, yaml.CollectionEndEvent):
            size, anchor = sizes.pop(), names.pop()
            anchors[anchor] = size
            sizes[-1] += size
        elif isinstance(event, yaml.ScalarEvent):
            anchors[event.anchor or ""] = 1
            sizes[-1] += 1
        if sizes[-1] > MOST_NODES:
            raise _refusal(event, f"more than {MOST_NODES:,} entries, with aliases spelled out")


def _refusal(event: yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, for which a scalar that is not what it looks like is a mistake with a place."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As in PyYAML. Raises ConstructorError."""
        kind = _KINDS.get(node.tag)
        if kind is not None and isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER:
            raise self._wrong(node, kind, f"it has {len(node.value):,} characters")
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise self._wrong(node, kind or "YAML", str(error)) from None

    def _wrong(self, node: yaml.Node, kind: str, why: str) -> yaml.constructor.ConstructorError:
        value = str(node.value)
        shown = value if len(value) <= 30 else f"{value[:29]}…"
        return yaml.constructor.ConstructorError(
            problem=f"{shown!r} is no {kind} ({why}); put it in quotes", problem_mark=node.start_mark
        )


_KINDS = {
    "tag:yaml.org,2002:int": "whole number",
    "tag:yaml.org,2002:float": "number",
    "tag:yaml.org,2002:timestamp": "date",
    "tag:yaml.org,2002:bool": "truth value",
}
