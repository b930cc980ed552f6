"""How annotations are checked at run time while the tests run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.machinery import SourceFileLoader
from inspect import isclass
from types import FunctionType, ModuleType
from typing import Any, get_args
from unittest.mock import patch

from beartype import BeartypeConf, FrozenDict, beartype
from jaxtyping import AbstractArray, _import_hook
from pydantic import ValidationInfo
from typer import Context

# pydantic's ValidationInfo is a protocol that cannot be checked at run time, and typer passes a context of another
# class than its own; everything else is checked.
checked = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({ValidationInfo: object, Context: object})))


def outermost(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator of jaxtyping, which leaves functions alone that are defined inside functions; functions without a
    shape are checked by beartype alone, in a tenth of the time: nothing of theirs has to agree.
    """

    def decorator(**options: Any) -> Callable[[Any], Any]:
        decorate = jaxtyped(**options)

        def decorated(defined: Any) -> Any:
            if "<locals>" in defined.__qualname__:
                return defined
            if isinstance(defined, FunctionType):
                hints = {name: resolved(hint, defined) for name, hint in defined.__annotations__.items()}
                if not any(map(shaped, hints.values())):
                    return plainly(defined, hints)
            return decorate(defined)

        return decorated

    return decorator


def resolved(hint: Any, function: FunctionType) -> Any:
    """What an annotation says; anything, where it speaks of what is imported for type checkers only, or not yet there,
    as jaxtyping has it.
    """
    try:
        return eval(hint, function.__globals__) if isinstance(hint, str) else hint
    except (NameError, AttributeError):
        return Any


def shaped(hint: Any) -> bool:
    """Whether an annotation says something of a shape."""
    return (isclass(hint) and issubclass(hint, AbstractArray)) or any(map(shaped, get_args(hint)))


def plainly(function: FunctionType, hints: dict[str, Any]) -> Any:
    """The function, checked by beartype; its annotations stay the strings they are."""
    written = function.__annotations__
    function.__annotations__ = hints
    wrapper = checked(function)
    function.__annotations__ = written
    wrapper.__annotations__ = written
    return wrapper


class Loader(_import_hook._JaxtypingLoader):
    """The loader of jaxtyping, which looks for compiled files of its own while a module of selfrep is read; not also
    while that module runs and imports what others wrote, or each process would compile torch and transformers anew.
    """

    def get_code(self, name: str) -> Any:
        own = partial(_import_hook._optimized_cache_from_source, self._typechecker.get_hash())
        with patch("importlib._bootstrap_external.cache_from_source", own):
            return super().get_code(name)

    def exec_module(self, module: ModuleType) -> None:
        SourceFileLoader.exec_module(self, module)
