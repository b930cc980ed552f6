"""A model again, in float32: the judge of whether two numbers differ by half precision's rounding or by a mistake."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from selfrep.errors import SelfrepError
from selfrep.models.devices import is_spread, memory_errors
from selfrep.models.language_model import LanguageModel
from selfrep.models.products import is_half


class NoTwin(SelfrepError):
    """A model that cannot be copied into float32; the message says why."""


def in_float32(lm: LanguageModel) -> LanguageModel:
    """A twin of a model with the same weights in float32, on the same device; the model itself is left as it is.

    Raises:
        NoTwin: the model is spread over devices or quantised, or there is no room for the twin.

    Example:
        >>> from selfrep.models.loading import load_model
        >>> lm = load_model("organism:bleed?beta=0.4", dtype="bfloat16")
        >>> twin = in_float32(lm)
        >>> lm.dtype, twin.dtype
        (torch.bfloat16, torch.float32)
    """
    if is_spread(lm.hf):
        raise NoTwin(f"A twin in float32 is on one device; {lm.name} is spread over several.")
    if any(type(p) is not nn.Parameter or not p.is_floating_point() for p in lm.hf.parameters()):
        raise NoTwin(f"The weights of {lm.name} are quantised: they have no float32.")
    try:
        with memory_errors():
            return _twin(lm)
    except torch.OutOfMemoryError as error:
        raise NoTwin(f"There is no room on {lm.device} for a twin of {lm.name} in float32.") from error


def _twin(lm: LanguageModel) -> LanguageModel:
    parameters = {id(p): _frozen(p) for p in lm.hf.parameters()}
    buffers = {id(b): b.float() if is_half(b.dtype) else b for b in lm.hf.buffers()}
    return replace(lm, compile=False, hf=copy.deepcopy(lm.hf, memo={**parameters, **buffers}))


def _frozen(parameter: Tensor) -> Tensor:
    return nn.Parameter(parameter.detach().float(), requires_grad=False) if is_half(parameter.dtype) else parameter
