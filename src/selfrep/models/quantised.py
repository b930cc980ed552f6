"""Quantised weights: the tensors they are made of, and the layers that round what enters them, too.

bitsandbytes, torchao and torch itself each keep such weights in a way of their own. A layer that rounds weights alone
computes a token like any other layer. One that rounds its inputs as they come does not: a difference in the last digit
may move an input to the next step, and LLM.int8 picks the inputs that it leaves unrounded over all rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

_ROUNDING_LAYERS = ("Linear8bitLt", "FP8Linear", "FbgemmFp8Linear")
"""Layers of bitsandbytes and transformers that round their inputs."""
_ROUNDING_WEIGHTS = ("act_quant_kwargs", "activation_quantization", "input_quant_func")
"""What kinds of weights of torchao hold that has its layer round its inputs."""


def is_bare(tensor: Tensor) -> bool:
    """Whether a tensor is one of floating-point numbers, and not of quantised ones.

    Example:
        >>> import torch
        >>> is_bare(torch.zeros(2)), is_bare(torch.zeros(2, dtype=torch.int8))
        (True, False)
    """
    return type(tensor) in (Tensor, nn.Parameter) and tensor.is_floating_point()


def rounding_inputs(hf: nn.Module) -> list[str]:
    """The modules that round what enters them as it comes.

    Example:
        >>> rounding_inputs(nn.Linear(3, 3))
        []
    """
    return [
        f"{type(module).__name__} in {path} (quantised, its inputs too)"
        for path, module in hf.named_modules()
        if type(module).__name__ in _ROUNDING_LAYERS
        or type(module).__module__.startswith("torch.ao.nn.quantized.")
        or any(getattr(getattr(module, "weight", None), name, None) is not None for name in _ROUNDING_WEIGHTS)
    ]


def plain_parts(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors of numbers that a tensor is made of: itself, or the parts of a quantised one and what scales them.

    Example:
        >>> import torch
        >>> [part.tolist() for part in plain_parts(nn.Parameter(torch.ones(2)))]
        [[1.0, 1.0]]
    """
    if hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()
        for name in names:
            yield from plain_parts(getattr(tensor, name))
    else:
        yield _numbers(tensor)
        scales = list(vars(tensor).values())
        while scales:
            one = scales.pop(0)
            if isinstance(one, Tensor):
                yield _numbers(one)
            elif type(one).__name__ == "QuantState":  # of bitsandbytes; it may hold another one
                scales += vars(one).values()


def _numbers(tensor: Tensor) -> Tensor:
    """A tensor by itself: without gradient, and without what a kind of parameter (of bitsandbytes) does of its own."""
    bare = tensor.detach()
    return bare.as_subclass(Tensor) if issubclass(type(bare), nn.Parameter) else bare
