"""Matrix products on a CPU in float32, by the quicker of the two libraries that torch carries.

torch hands them to MKL, which leaves half of what an AMD processor can do unused. oneDNN, by which torch multiplies in
half precision, does not: on processors with AVX-512 that MKL will not use it is about twice as quick, in the same
precision. Which of the two is quicker is measured once on a machine, and kept.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

from selfrep.models import timings

FEWEST = 64
"""Tokens below which taking products elsewhere costs more than it saves."""
GAIN = 1.1
"""How many times as quick oneDNN must be measured to be used."""
TURNS = 12
"""How often each is measured."""


@contextmanager
def quick_products(device: torch.device, tokens: int) -> Iterator[None]:
    """Within it `torch.nn.functional.linear` on this many tokens is computed the quicker way, in this thread."""
    if device.type != "cpu" or tokens < FEWEST or not onednn_pays():
        yield
        return
    with _ByOneDnn():
        yield


def quick_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` by oneDNN, for dense float32 tensors on a CPU; with a gradient for x alone.

    x: [..., in]; weight: [out, in]; bias: [out].
    """
    return cast(Tensor, _Linear.apply(x, weight, bias)) if torch.is_grad_enabled() else _product(x, weight, bias)


@cache
def onednn_pays() -> bool:
    """Whether oneDNN is there, and quicker than what torch would take."""
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    key = ("products by oneDNN", 1, platform.node(), torch.get_num_threads(), torch.__version__)
    return bool(timings.kept(key, lambda: {"gain": _gain()})["gain"] > GAIN)


def _gain() -> float:
    """How many times as quick oneDNN is: by medians of turns that alternate, since a machine that is busy with other
    things is so for both."""
    x, weight = torch.zeros(256, 512), torch.zeros(1024, 512)
    with torch.no_grad():
        turns = [(_seconds(lambda: linear(x, weight)), _seconds(lambda: quick_linear(x, weight))) for _ in range(TURNS)]
    theirs, ours = (statistics.median(times) for times in zip(*turns[1:], strict=True))  # the first warms up
    return theirs / ours


class _ByOneDnn(TorchFunctionMode):
    """Computes `linear` by oneDNN wherever it can."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is linear and not kwargs and all(map(_dense, args)) and not _trained(args[1:]):
            return quick_linear(*args)
        return func(*args, **(kwargs or {}))


class _Linear(torch.autograd.Function):
    """The product, differentiable by x: weights are never trained here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(grad[0], weight.mT, None), None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    if extra := _rounded(len(rows)) - len(rows):
        rows = pad(rows, (0, 0, 0, extra))
    out = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return cast(Tensor, out[: len(rows) - extra].view(*x.shape[:-1], -1))


def _rounded(rows: int) -> int:
    """The next of eight sizes between powers of two. oneDNN compiles a program for each size, which takes milliseconds
    and half a megabyte that it keeps; walks come in hundreds of sizes."""
    step = max(FEWEST // 2, 1 << max(0, rows.bit_length() - 4))
    return -(-rows // step) * step


def _dense(x: Any) -> bool:
    plain = type(x) in (Tensor, nn.Parameter) and x.layout == torch.strided
    return x is None or (plain and x.dtype == torch.float32 and x.device.type == "cpu")


def _trained(weights: Iterable[Tensor | None]) -> bool:
    return torch.is_grad_enabled() and any(w is not None and w.requires_grad for w in weights)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
