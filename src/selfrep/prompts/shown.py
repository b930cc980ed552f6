"""How a noun shows itself: one line in a terminal, a small table in a notebook.

A dataclass prints all that it holds: a model its 700,000 characters of modules, a battery every answer. `shown` names
the few facts by which a person knows one from another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, TypeVar

WIDTH = 119
"""The most characters of a line."""

Class = TypeVar("Class", bound=type[Any])


def shown(facts: Callable[[Any], Mapping[str, object]]) -> Callable[[Class], Class]:
    """Decorate a class: what `facts` says of an object becomes its `repr`, and its table in a notebook.

    Example:
        >>> @shown(lambda self: {"name": "ada", "parts": 2})
        ... class Machine: ...
        >>> Machine()
        Machine(name='ada', parts=2)
    """

    def decorate(cls: Class) -> Class:
        def in_a_line(self: Any) -> str:
            return line(type(self).__name__, facts(self))

        def in_a_table(self: Any) -> str:
            return table(type(self).__name__, facts(self))

        for name, method in (("__repr__", in_a_line), ("__str__", in_a_line), ("_repr_html_", in_a_table)):
            setattr(cls, name, method)
        return cls

    return decorate


def line(noun: str, facts: Mapping[str, object]) -> str:
    """`Noun(name='value', …)` in one line of at most `WIDTH` characters. Facts that are empty are left out."""
    said = ", ".join(f"{name}={' '.join(repr(value).split())}" for name, value in _told(facts).items())
    text = f"{noun}({said})"
    return text if len(text) <= WIDTH else text[: WIDTH - 2] + "…)"


def table(noun: str, facts: Mapping[str, object]) -> str:
    """The same as HTML, one fact a row, all of it escaped."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(_short(value))}</td></tr>"
        for name, value in _told(facts).items()
    )
    return f"<table><caption style='text-align:left'><b>{escape(noun)}</b></caption>{rows}</table>"


def _told(facts: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in facts.items() if value is not None and value not in ("", (), [])}


def _short(value: object, limit: int = 300) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
