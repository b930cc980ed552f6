"""Attention over a prefix and over own tokens as two calls of the library's fused kernels.

A fused kernel (FlashAttention, Dao et al. 2022) holds no scores in memory, and gives beside its output the log-sum-exp
of the scores. That is all it takes to merge two parts: each counts with the share that its exponential has of both.
The queries of all continuations of a prompt are one long query to its prefix, and see all of it; own tokens are causal.
Windows and padding are a bias. Sinks, which have no values, join in the merge.

On a CPU, attention written out is quicker in float32 (`attention`), so kernels are taken where `DEVICES` says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias, cast

import torch
from einops import rearrange
from torch import Tensor

from selfrep.engine.replay.masks import Masks

DEVICES = {"cuda"}
"""The kinds of device on which fused kernels are taken."""
HEADS = range(8, 257, 8)
"""Sizes of a head that all kernels take."""


Merge: TypeAlias = Callable[[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None], Tensor]
"""A function like `merged`."""


@dataclass(frozen=True)
class Kernel:
    """A fused attention function of torch that gives the log-sum-exp.

    Attributes:
        run: (query, key, value, bias, causal, scale) → output [row, head, query, d_head] and log-sum-exp [row, head,
            query].
        grouped: whether it takes fewer key-value heads than heads.
        biased: whether it takes a bias.
    """

    run: Callable[[Tensor, Tensor, Tensor, Tensor | None, bool, float], tuple[Tensor, Tensor]]
    grouped: bool
    biased: bool


def _flash(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal, scale=scale)
    return out, lse


def _efficient(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float
) -> tuple[Tensor, Tensor]:
    bias = None if bias is None else bias.expand(*q.shape[:3], k.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_efficient_attention
    out, lse, *_ = kernel(q, k, v, bias, True, 0.0, causal, scale=scale)
    return out, lse[..., : q.shape[2]]


def _of_cpu(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    bias = None if bias is None else bias.expand(*q.shape[:3], k.shape[2])
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out, lse = kernel(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)
    return out, lse


FLASH, EFFICIENT, OF_CPU = (
    Kernel(_flash, grouped=True, biased=False),
    Kernel(_efficient, grouped=False, biased=True),
    Kernel(_of_cpu, grouped=True, biased=True),
)
KERNELS = (FLASH, EFFICIENT, OF_CPU)
"""In order of preference; flash attention is of half precision."""


def kernels(query: Tensor, key: Tensor, value: Tensor) -> tuple[Kernel, Kernel] | None:
    """What attends to all keys, and what attends with a bias; None where attention is to be written out."""
    if query.device.type not in DEVICES or query.shape[-1] not in HEADS or query.shape[-1] != value.shape[-1]:
        return None
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        return None  # gradients go through the log-sum-exp, too, which no kernel gives
    with torch.no_grad():
        plain, biased = (_first(query.device, query.dtype, with_bias) for with_bias in (False, True))
    return None if plain is None or biased is None else (plain, biased)


def attention(
    kernels: tuple[Kernel, Kernel],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    before: tuple[Tensor, Tensor] | None,
    masks: Masks,
    scale: float,
    window: int | None,
    sinks: Tensor | None,
    merge: Merge,
) -> Tensor:
    """Attention of new tokens to those before them and to each other.

    Args:
        query: [run × prompt, head, token, d_head]; key, value: [run × prompt, kv_head, token, d_head].
        before: keys and values of the prefix, each [prompt, kv_head, prefix_token, d_head].
        sinks: [head].
        merge: `merged`, or the same compiled.

    Returns:
        [run × prompt, token, head, d_head].
    """
    plain, biased = kernels
    rows, _, tokens, _ = query.shape
    shape = {"g": query.shape[1] // key.shape[1], "b": rows if before is None else len(before[0])}
    shape["c"] = rows // shape["b"]
    if masks.is_causal(tokens, window) and (plain.grouped or shape["g"] == 1):
        out, lse = plain.run(query, key, value, None, tokens > 1, scale)
        out, lse = (rearrange(x, "(c b) (h g) t ... -> c b h g t ...", **shape) for x in (out, lse))
    else:
        bias = masks.own(tokens, window, shape["g"], rows, query.device, query.dtype)
        folded = rearrange(query, "r (h g) t d -> r h (g t) d", g=shape["g"])
        out, lse = biased.run(folded, key, value, bias, False, scale)
        out, lse = (rearrange(x, "(c b) h (g t) ... -> c b h g t ...", **shape) for x in (out, lse))
    past = past_lse = None
    if before is not None:
        folded = rearrange(query, "(c b) (h g) t d -> b h (c g t) d", **shape)
        device, dtype = query.device, query.dtype
        partly = masks.prefix(before[0].shape[2], tokens, window, shape["g"], shape["c"], device, dtype)
        kernel = plain if partly is None else biased
        past, past_lse = kernel.run(folded, *before, partly, False, scale)
        past, past_lse = (
            rearrange(x, "b h (c g t) ... -> c b h g t ...", c=shape["c"], g=shape["g"]) for x in (past, past_lse)
        )
    if sinks is not None:
        sinks = rearrange(sinks, "(h g) -> h g 1", g=shape["g"])
    return rearrange(merge(out, lse, past, past_lse, sinks), "c b h g t d -> (c b) t (h g) d")


def merged(out: Tensor, lse: Tensor, past: Tensor | None, past_lse: Tensor | None, sinks: Tensor | None) -> Tensor:
    """Outputs [..., d_head] over two sets of keys as one over both, by their log-sum-exps [...]."""
    if past is None and sinks is None:
        return out
    both = out.float()
    if past is not None and past_lse is not None:
        both = torch.lerp(both, past.float(), torch.sigmoid(past_lse - lse)[..., None])
        lse = lse if sinks is None else torch.logaddexp(lse, past_lse)
    if sinks is not None:
        both = both * torch.sigmoid(lse - sinks.float())[..., None]
    return both.to(out.dtype)


@cache
def compiled_merged() -> Merge:
    """The same as one kernel, by torch's compiler."""
    return cast(Merge, torch.compile(merged, dynamic=True))


@cache
def _first(device: torch.device, dtype: torch.dtype, biased: bool) -> Kernel | None:
    """The first kernel that this device has in this precision, found by a try on next to nothing."""
    q, k = (torch.zeros(1, heads, 8, 8, device=device, dtype=dtype) for heads in (2, 1))
    bias = torch.zeros(1, 1, 8, 8, device=device, dtype=dtype) if biased else None
    for kernel in KERNELS:
        if biased and not kernel.biased:
            continue
        wide = k if kernel.grouped else k.expand_as(q)
        try:
            kernel.run(q, wide, wide, bias, False, 1.0)
        except (RuntimeError, NotImplementedError, TypeError):
            continue
        return kernel
    return None
