"""How annotations are checked at run time while the tests run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, FrozenDict, beartype
from pydantic import ValidationInfo
from typer import Context

# pydantic's ValidationInfo is a protocol that cannot be checked at run time, and typer passes a context of another class
# than its own; everything else is checked.
checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({ValidationInfo: object, Context: object})))


def outermost(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator of jaxtyping, which leaves functions alone that are defined inside functions."""

    def decorator(**options: Any) -> Callable[[Any], Any]:
        decorate = jaxtyped(**options)
        return lambda defined: defined if "<locals>" in defined.__qualname__ else decorate(defined)

    return decorator
