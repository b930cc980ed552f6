"""Hooks on plain modules: hear, or change, what enters or leaves one, or what passes at the sites of a model.

A hook acts in the thread that set it: a pass that another thread runs meanwhile is left alone. And a hook that was
never called is an error, since then the model runs other code than that of its modules.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel

Place = tuple[str, int]
"""(site, layer)."""


class EndOfPass(Exception):
    """Raised by a hook to end a forward pass, once all that is wanted of it is there."""


@contextmanager
def hearing(lm: LanguageModel, places: Iterable[Place], hear: Callable[[Place, Tensor], None]) -> Iterator[None]:
    """Within, `hear` gets what passes at these places, [row, token, (component,) feature]."""

    def heard(place: Place, x: Tensor) -> None:
        part = lm.layout.tap(place[0]).part
        hear(place, x if part is None else part.read(x))

    with ExitStack() as stack:
        for place in places:
            module, tap = lm.tap(*place)
            stack.enter_context(listening(module, tap.end, partial(heard, place)))
        yield


@contextmanager
def listening(module: nn.Module, end: str, hear: Callable[[Tensor], None]) -> Iterator[None]:
    """Within, `hear` gets what enters or leaves a module. Raises as `replacing` does."""

    def unchanged(x: Tensor) -> Tensor:
        hear(x)
        return x

    with replacing(module, end, unchanged):
        yield


@contextmanager
def replacing(module: nn.Module, end: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, `change` maps what enters or leaves a module, [row, token, feature].

    What enters is the first argument of its `forward`, by position or by whatever name; what leaves is its output, or
    the first of several.

    Raises:
        SelfrepError: the module was not called before the end of the `with` block, which otherwise went well; or, as it
            is called, an architecture that passes something else (OPT flattens rows and tokens into one).
    """
    called = False

    def check(x: Tensor) -> Tensor:
        nonlocal called
        called = True
        if x.ndim != 3:
            raise SelfrepError(
                f"A site passes [row, token, feature]; the {end}put of this {type(module).__name__} is "
                f"{list(x.shape)}. Use another site of this model, such as resid_pre or attn_out."
            )
        return change(x)

    if end == "in":
        first = next(iter(inspect.signature(module.forward).parameters), "")

        def before(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (check(args[0]), *args[1:]), kwargs
            if first not in kwargs:
                raise SelfrepError(
                    f"What enters a module is the first argument of its forward; this {type(module).__name__} was "
                    f"called without {first!r}, with {sorted(kwargs)}. Use another site of this model."
                )
            return args, {**kwargs, first: check(kwargs[first])}

        hooked = calling_before(module, before)
    else:

        def after(out: Any) -> Any:
            return (check(out[0]), *out[1:]) if isinstance(out, tuple) else check(out)

        hooked = calling_after(module, after)
    with hooked:
        yield
        if not called:
            raise SelfrepError(
                f"A hook must be called; that on a {type(module).__name__} was not, so this model runs other code than "
                "that of its modules (compiled, exported or replaced). Load the model anew, without."
            )


@contextmanager
def calling_before(module: nn.Module, function: Callable[[tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
    """Within, the function gets the arguments (by position, by name) of each call of the module in this thread, and
    returns those that replace them, or None."""
    mine = threading.get_ident()

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        # Without `kwargs` when another thread calls it while it is removed.
        return None if threading.get_ident() != mine or kwargs is None else function(args, kwargs)

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def calling_after(module: nn.Module, function: Callable[[Any], Any]) -> Iterator[None]:
    """Within, the function gets the output of each call of the module in this thread, and returns another."""
    mine = threading.get_ident()

    def hook(_: nn.Module, __: Any, out: Any) -> Any:
        return function(out) if threading.get_ident() == mine else None

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
