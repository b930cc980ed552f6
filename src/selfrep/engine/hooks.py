"""Hooks on plain modules: hear, or change, what enters or leaves one, or what passes at the sites of a model."""

from __future__ import annotations

import inspect
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
            stack.callback(listen(module, tap.end, partial(heard, place)))
        yield


def listen(module: nn.Module, end: str, hear: Callable[[Tensor], None]) -> Callable[[], None]:
    """Call `hear` with what enters or leaves a module; returns the remover."""

    def unchanged(x: Tensor) -> Tensor:
        hear(x)
        return x

    return replace(module, end, unchanged)


def replace(module: nn.Module, end: str, change: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """Hook a plain module so that `change` maps what enters or leaves it, [row, token, feature]; returns the remover.

    What enters is the first argument of its `forward`, by position or by whatever name; what leaves is its output, or
    the first of several.

    The hook raises SelfrepError where an architecture passes something else (OPT flattens rows and tokens into one).
    """

    def check(x: Tensor) -> Tensor:
        if x.ndim != 3:
            raise SelfrepError(
                f"A site passes [row, token, feature]; the {end}put of this {type(module).__name__} is "
                f"{list(x.shape)}. Use another site of this model, such as resid_pre or attn_out."
            )
        return change(x)

    if end == "in":
        first = next(iter(inspect.signature(module.forward).parameters), "")

        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (check(args[0]), *args[1:]), kwargs
            if first not in kwargs:
                raise SelfrepError(
                    f"What enters a module is the first argument of its forward; this {type(module).__name__} was "
                    f"called without {first!r}, with {sorted(kwargs)}. Use another site of this model."
                )
            return args, {**kwargs, first: check(kwargs[first])}

        return module.register_forward_pre_hook(before, with_kwargs=True).remove

    def after(_: Any, __: Any, out: Any) -> Any:
        return (check(out[0]), *out[1:]) if isinstance(out, tuple) else check(out)

    return module.register_forward_hook(after).remove
