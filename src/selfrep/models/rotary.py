"""Rotary tables that depend on how long the longest prompt of a batch is: LongRoPE and dynamic NTK scaling.

LongRoPE (Phi-3) rotates all positions by other factors as soon as one position of the batch lies beyond a switch;
dynamic scaling has a table for each length beyond it, and transformers keeps the longest it has met for the prompts
that come after. So that the numbers of a prompt are those it has alone, on a model that has read nothing before,
prompts share a pass, or a prefix, only where they are on one side (`side`), and each pass begins `anew`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import nn
from transformers import Cache, DynamicCache

Side = tuple[int, ...]
"""Which rotary tables a prompt of some length has; one number for each table that may change."""


class _Table(NamedTuple):
    """A table that depends on the length: the module, the prefix of its attributes, its kind, its switch in tokens."""

    module: Any
    prefix: str
    kind: str
    switch: int


def side(hf: nn.Module, tokens: int) -> Side:
    """Which rotary tables a prompt of so many tokens has: 0 up to the switch, beyond it 1 (LongRoPE) or its length.

    Example:
        >>> side(nn.Linear(2, 2), 100)  # no table that depends on the length
        ()
    """
    return tuple(
        0 if tokens <= table.switch else 1 if table.kind == "longrope" else tokens for table in _changing_tables(hf)
    )


@contextmanager
def anew(hf: nn.Module) -> Iterator[None]:
    """Within, no pass of the model feels the length of prompts that it has read before.

    Example:
        >>> with anew(nn.Linear(2, 2)):
        ...     pass
    """
    modules = {id(table.module): table.module for table in _changing_tables(hf) if table.kind == "dynamic"}
    with ExitStack() as stack:
        for module in modules.values():
            _forget_lengths(module, ())
            stack.callback(_forget_lengths, module, ())
            stack.callback(module.register_forward_pre_hook(_forget_lengths).remove)
        yield


def full_cache() -> Cache:
    """An empty cache of keys and values that will keep every token of a prompt, so that it can be cut anywhere. By
    itself a model with a sliding window keeps no token that the window has passed.

    Example:
        >>> full_cache().get_seq_length()
        0
    """
    return DynamicCache()


def _changing_tables(hf: nn.Module) -> Iterator[_Table]:
    module: Any
    for module in hf.modules():
        kinds = getattr(module, "rope_type", None)
        for name, kind in (kinds if isinstance(kinds, dict) else {"": kinds}).items():
            if kind not in ("longrope", "dynamic"):
                continue
            parameters = module.config.rope_parameters
            parameters = parameters[name] if name else parameters
            switch = module.original_max_seq_len
            if kind == "longrope":
                switch = parameters["original_max_position_embeddings"]
            yield _Table(module, f"{name}_" if name else "", kind, int(switch))


def _forget_lengths(module: Any, _: object) -> None:
    for table in _changing_tables(module):
        if table.kind == "dynamic" and table.module is module:
            original = getattr(module, f"{table.prefix}original_inv_freq")
            module.register_buffer(f"{table.prefix}inv_freq", original.clone(), persistent=False)
            setattr(module, f"{table.prefix}max_seq_len_cached", module.original_max_seq_len)
