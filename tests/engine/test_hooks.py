"""Hooks on either end of a module, whatever it is called with and whatever it returns."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfrep.engine.hooks import listen, replace
from selfrep.errors import SelfrepError


class Double(nn.Module):
    """A block: takes its stream by position or by name, returns it alone or with company."""

    def __init__(self, company: bool) -> None:
        super().__init__()
        self.company = company

    def forward(self, hidden_states: Tensor, shift: float = 0.0) -> Any:
        out = 2 * hidden_states + shift
        return (out, "weights") if self.company else out


@pytest.mark.parametrize("company", [True, False])
@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("end", ["in", "out"])
def test_hooks_hear_change_and_leave(company: bool, by_name: bool, end: str) -> None:
    module, x, heard = Double(company), torch.ones(1, 2, 3), []

    def run() -> Tensor:
        out = module(hidden_states=x, shift=1.0) if by_name else module(x, 1.0)
        if company:
            assert out[1] == "weights"
            return out[0]
        return out

    remove = listen(module, end, heard.append)
    assert torch.equal(run(), 2 * x + 1)
    assert torch.equal(heard[0], x if end == "in" else 2 * x + 1)
    remove()
    remove = replace(module, end, lambda y: y + 10)
    assert torch.equal(run(), 2 * (x + 10) + 1 if end == "in" else 2 * x + 11)
    remove()
    assert torch.equal(run(), 2 * x + 1)
    assert len(heard) == 1


def test_a_flattened_stream_is_refused() -> None:
    module = Double(False)
    remove = listen(module, "out", lambda _: None)
    with pytest.raises(SelfrepError, match=r"output of this Double is \[2, 3\]"):
        module(torch.ones(2, 3))
    remove()


class Named(nn.Module):
    """A projection whose input has a name of its own."""

    def forward(self, attention_values: Tensor, *, bias: Tensor | None = None) -> Tensor:
        return 2 * attention_values if bias is None else 2 * attention_values + bias


def test_what_enters_is_the_first_argument_by_whatever_name() -> None:
    module, x, bias = Named(), torch.ones(1, 2, 3), torch.full((1, 2, 3), 5.0)
    remove = replace(module, "in", lambda y: y + 10)
    assert torch.equal(module(bias=bias, attention_values=x), 2 * (x + 10) + bias)  # whichever is named first
    assert torch.equal(module(x, bias=bias), 2 * (x + 10) + bias)
    with pytest.raises(SelfrepError, match=r"this Named was called without 'attention_values', with \['bias'\]"):
        module(bias=bias)
    remove()
    assert torch.equal(module(attention_values=x), 2 * x)


def test_a_wrapped_forward_keeps_its_argument() -> None:
    """As when a library that spreads a model over devices puts its own forward before the module's."""
    module, x, inner = Named(), torch.ones(1, 2, 3), Named().forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Tensor:
        return inner(*args, **kwargs)

    module.forward = forward
    remove = replace(module, "in", lambda y: y + 10)
    assert torch.equal(module(attention_values=x), 2 * (x + 10))
    remove()
