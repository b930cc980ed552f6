"""An attention function that a model runs with in one thread, while every other thread runs the model as it is.

transformers looks up the attention function by a name in the model's configuration, at each call of each block. The
name is one for all threads. So while a function of ours is in use, the configuration looks its name up by thread: its
class is replaced by a subclass that does, and put back when the last thread is done.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_guard = threading.Lock()
_users: Counter[int] = Counter()
"""How many `with` blocks use each configuration, by its id."""


class _Chosen(threading.local):
    """In each thread: names of attention functions by the id of the configuration."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}


_chosen = _Chosen()


@contextmanager
def attending(config: PretrainedConfig, function: Callable[..., Any]) -> Iterator[None]:
    """Inside the `with` block, models of this configuration run with this attention function, in this thread alone.

    Args:
        config: the very object that the modules of the model hold.
        function: see `transformers.AttentionInterface`.

    Example:
        >>> from transformers import LlamaConfig
        >>> config = LlamaConfig(attn_implementation="sdpa")
        >>> with attending(config, print):
        ...     config._attn_implementation
        'selfrep_print'
        >>> config._attn_implementation
        'sdpa'
    """
    from transformers import AttentionInterface

    name = f"selfrep_{function.__name__}"
    AttentionInterface.register(name, function)
    names = _chosen.names
    before = names.get(id(config))
    with _guard:
        _users[id(config)] += 1
        if _users[id(config)] == 1:
            object.__setattr__(config, "__class__", _by_thread(cast(Any, type(config))))
    names[id(config)] = name
    try:
        yield
    finally:
        if before is None:
            del names[id(config)]
        else:
            names[id(config)] = before
        with _guard:
            _users[id(config)] -= 1
            if not _users[id(config)]:
                del _users[id(config)]
                object.__setattr__(config, "__class__", type(config).__base__)


@cache
def _by_thread(kind: type[PretrainedConfig]) -> type[PretrainedConfig]:
    """A kind of configuration that names the attention function of the thread that asks."""

    def get(self: Any) -> Any:
        return _chosen.names.get(id(self)) or self._attn_implementation_internal

    own: Any = kind._attn_implementation
    members = {
        "_attn_implementation": property(get, own.fset),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
    }
    return type(kind.__name__, (kind,), members)
