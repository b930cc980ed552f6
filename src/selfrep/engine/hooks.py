"""Hooks on plain modules: hear, or change, what enters or leaves one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from selfrep.errors import SelfrepError


def listen(module: nn.Module, end: str, hear: Callable[[Tensor], None]) -> Callable[[], None]:
    """Call `hear` with what enters or leaves a module; returns the remover."""

    def unchanged(x: Tensor) -> Tensor:
        hear(x)
        return x

    return replace(module, end, unchanged)


def replace(module: nn.Module, end: str, change: Callable[[Tensor], Tensor]) -> Callable[[], None]:
    """Hook a plain module so that `change` maps what enters or leaves it, [row, token, d_model]; returns the remover.

    The hook raises SelfrepError where an architecture passes something else (OPT flattens rows and tokens into one).
    """

    def checked(x: Tensor) -> Tensor:
        if x.ndim != 3:
            raise SelfrepError(
                f"A site passes [row, token, d_model]; the {end}put of this {type(module).__name__} is "
                f"{list(x.shape)}. Use another site of this model, such as resid_pre or attn_out."
            )
        return change(x)

    if end == "in":

        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (checked(args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": checked(kwargs["hidden_states"])}

        return module.register_forward_pre_hook(before, with_kwargs=True).remove

    def after(_: Any, __: Any, out: Any) -> Any:
        return (checked(out[0]), *out[1:]) if isinstance(out, tuple) else checked(out)

    return module.register_forward_hook(after).remove
