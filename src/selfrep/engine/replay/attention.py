"""Attention that shares one prefix among many continuations of it.

Every patched run of a prompt begins with the same tokens; so does every question to the same persona. transformers
lets a program supply the attention function by name and hands it the rotated queries, keys and values of the *new*
tokens alone. The function here adds the prefix from a `Tape`: one matrix product over all continuations of a prompt
at once, with no copy of its keys and values, merged with each continuation's own causal attention by their running
maximum and sum (the log-sum-exp merge of FlashAttention, Dao et al. 2022). With an empty prefix it is ordinary masked
attention, which is how prefixes are recorded in the first place.

On a GPU both parts are the library's fused kernels (`fused`). Here they are written out: so a CPU computes them
quickest, and gradients and soft caps need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from selfrep.engine.hooks import EndOfPass
from selfrep.engine.replay import fused
from selfrep.engine.replay.masks import Masks
from selfrep.models.products import is_half, product

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of one layer, each [row, kv_head, token, d_head]."""


@dataclass
class Tape:
    """What a forward pass may see of the tokens before it, and what it leaves behind for the next.

    Attributes:
        prefix: keys and values per layer for the `n` shared prompts; empty when nothing precedes.
        masks: which of the prefix and of the pass's own tokens are padding, and what follows for each layer.
        rewrite: maps this pass's own keys and values to those that are attended to; None leaves them.
        keep: whether to record this pass's own keys and values.
        stop: whether to end the pass right after that, by raising `EndOfPass`.
        keys_values: what was kept, per layer.

    Rows of the pass are continuations × prompts, prompts fastest: row `c * n + b` continues prompt `b`.
    """

    prefix: dict[int, KeysValues] = field(default_factory=dict)
    masks: Masks = field(default_factory=Masks)
    rewrite: Callable[[Tensor, Tensor], KeysValues] | None = None
    keep: bool = False
    stop: bool = False
    keys_values: dict[int, KeysValues] = field(default_factory=dict)


_tape: ContextVar[Tape] = ContextVar("selfrep_tape")


@contextmanager
def playing(tape: Tape) -> Iterator[Tape]:
    """Make `tape` the one that `shared_prefix_attention` reads and writes."""
    token = _tape.set(tape)
    try:
        yield tape
    finally:
        _tape.reset(token)


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any = None,  # never used: the tape knows what is visible
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    merge: fused.Merge = fused.merged,
    **unused: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls; see `transformers.AttentionInterface`.

    Args:
        query: [row, head, token, d_head]; key, value: [row, kv_head, token, d_head], new tokens only.
        scaling: factor on the scores; 1/√d_head when None.
        sliding_window: a query sees the keys at distance < window.
        softcap: scores become `cap · tanh(score / cap)` (Gemma 2).
        s_aux: [head] attention sinks, joining the softmax's denominator (gpt-oss).
        merge: how what fused kernels give is merged.

    Returns:
        [row, token, head, d_head], and None for the weights.
    """
    tape = _tape.get()
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    if tape.rewrite is not None:
        key, value = tape.rewrite(key, value)
    if tape.keep:
        tape.keys_values[layer] = (key, value)
    if tape.stop:
        raise EndOfPass
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    before = tape.prefix.get(layer)
    if softcap is None and (kernels := fused.kernels(query, key, value)):
        how = (tape.masks, factor, sliding_window, s_aux, merge)
        return fused.attention(kernels, query, key, value, before, *how), None
    return _written_out(query, key, value, before, tape.masks, factor, sliding_window, softcap, s_aux), None


@cache
def opaque_attention() -> Callable[..., tuple[Tensor, None]]:
    """The same for compiled blocks: a compiler calls it and does not look into it, but for the merge."""
    function = torch.compiler.disable(partial(shared_prefix_attention, merge=fused.compiled_merged()))
    function.__name__ = "opaque_attention"  # by which it is registered: it is another one
    return cast(Callable[..., tuple[Tensor, None]], function)


def _written_out(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    before: KeysValues | None,
    masks: Masks,
    factor: float,
    window: int | None,
    softcap: float | None,
    s_aux: Tensor | None,
) -> Tensor:
    """The same by products, softmax and sums: [row, token, head, d_head]."""
    groups, tokens, device = query.shape[1] // key.shape[1], query.shape[2], query.device
    half = is_half(value.dtype)
    query = query if half else query * factor

    def scored(q: Tensor, keys: Tensor, hidden: Tensor | None) -> Tensor:
        scores = product(q, keys.mT)
        if half:  # the factor would round the queries once more
            scores = scores.mul_(factor)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        return scores if hidden is None else scores.masked_fill_(hidden, -torch.inf)

    # Each row over its own tokens.
    q = rearrange(query, "r (h g) t d -> r h (g t) d", g=groups)
    own = scored(q, key, masks.own(tokens, window, groups, len(query), device))
    top = own.detach().amax(-1, keepdim=True)  # it cancels out, so no gradient goes through it
    if s_aux is not None:
        sinks = rearrange(s_aux.float(), "(h g) -> 1 h g 1", g=groups).repeat_interleave(tokens, dim=2)
        top = torch.maximum(top, sinks)

    # All continuations of a prompt over its prefix at once.
    if before is not None:
        keys, values = before
        n = len(keys)
        shape = {"b": n, "g": groups, "t": tokens}
        every = rearrange(q, "(c b) h (g t) d -> b h (c g t) d", **shape)
        shared = scored(every, keys, masks.prefix(keys.shape[2], tokens, window, groups, len(q) // n, device))
        top = torch.maximum(
            top, rearrange(shared.detach().amax(-1, keepdim=True), "b h (c g t) 1 -> (c b) h (g t) 1", **shape)
        )
        shared.sub_(rearrange(top, "(c b) h (g t) 1 -> b h (c g t) 1", **shape)).exp_()
    own.sub_(top).exp_()
    total = own.sum(-1, keepdim=True)
    if before is not None:
        total = total + rearrange(shared.sum(-1, keepdim=True), "b h (c g t) 1 -> (c b) h (g t) 1", **shape)
    if s_aux is not None:
        total = total + (sinks - top).exp()
    # In half precision weights are divided before they meet the values, since sums of undivided ones overflow; in
    # float32 what comes out is divided, since it is smaller. Scores and sums are those of float32 in any case.
    out = product((own / total if half else own).to(value.dtype), value)
    if before is not None:
        if half:
            whole = rearrange(total, "(c b) h (g t) 1 -> b h (c g t) 1", **shape)
            shared = torch.div(shared, whole, out=None if torch.is_grad_enabled() else shared)
        out = out + rearrange(product(shared.to(values.dtype), values), "b h (c g t) d -> (c b) h (g t) d", **shape)
    out = out.to(value.dtype) if half else out / total
    return rearrange(out, "r h (g t) d -> r t (h g) d", g=groups)
