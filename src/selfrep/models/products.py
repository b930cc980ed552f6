"""Matrix products of half-precision numbers, summed and kept in float32.

A product of two bfloat16 numbers is exact in float32, and processors sum such products in float32. What loses digits
is to round the sum to half precision again: with eight bits, logits about 20 lie an eighth apart. Where a softmax or a
metric reads the sums, they are kept as they are. Products of float32 numbers are those of torch.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

MOST_WEIGHTS = 2**24
"""How many weights of a layer are held in float32 at once: 64 MB."""


def is_half(dtype: torch.dtype) -> bool:
    """Whether numbers of this type have two bytes: bfloat16 or float16.

    Example:
        >>> is_half(torch.bfloat16), is_half(torch.float32)
        (True, False)
    """
    return dtype in (torch.bfloat16, torch.float16)


def product(x: Tensor, y: Tensor) -> Tensor:
    """`x @ y` in float32.

    Args:
        x: [*batch, row, k]; y: [*batch, k, column]; the same precision, and the same batch.

    Example:
        >>> x = torch.tensor([[[256.0, 1.0]]], dtype=torch.bfloat16)
        >>> (x @ x.mT).item(), product(x, x.mT).item()
        (65536.0, 65537.0)
    """
    if not is_half(x.dtype):
        return x @ y
    if not torch.is_grad_enabled() and _keeps_sums(x.device, x.dtype):
        return torch.bmm(x.flatten(0, -3), y.flatten(0, -3), out_dtype=torch.float32).unflatten(0, x.shape[:-2])
    return x.float() @ y.float()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` in float32, its weights converted a piece at a time.

    Args:
        x: [..., in]; weight: [out, in]; bias: [out].

    Returns:
        [..., out].

    Example:
        >>> x = torch.tensor([256.0, 1.0], dtype=torch.bfloat16)
        >>> linear(x, x[None]).tolist()
        [65537.0]
    """
    if not (is_half(x.dtype) or is_half(weight.dtype)):
        return functional.linear(x, weight, bias)
    pieces = weight.split(max(1, MOST_WEIGHTS // weight.shape[1]))
    x = x.float()
    out = torch.cat([functional.linear(x, piece.float()) for piece in pieces], dim=-1)
    return out if bias is None else out + bias.float()


@cache
def _keeps_sums(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this device multiplies half precision into float32 without a copy of the factors (CUDA does)."""
    one = torch.ones(1, 1, 1, device=device, dtype=dtype)
    try:
        return torch.bmm(one, one, out_dtype=torch.float32).dtype == torch.float32
    except (TypeError, RuntimeError, NotImplementedError):
        return False
