"""Hooks on either end of a module, whatever it is called with and whatever it returns."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from selfrep.engine.hooks import listening, replacing
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

    with listening(module, end, heard.append):
        assert torch.equal(run(), 2 * x + 1)
    assert torch.equal(heard[0], x if end == "in" else 2 * x + 1)
    with replacing(module, end, lambda y: y + 10):
        assert torch.equal(run(), 2 * (x + 10) + 1 if end == "in" else 2 * x + 11)
    assert torch.equal(run(), 2 * x + 1)
    assert len(heard) == 1


@pytest.mark.parametrize("end", ["in", "out"])
def test_a_hook_acts_in_its_own_thread(end: str) -> None:
    module, x = Double(False), torch.ones(1, 2, 3)
    with ThreadPoolExecutor(1) as other, replacing(module, end, lambda y: y + 10):
        assert torch.equal(other.submit(module, x).result(), 2 * x)
        assert torch.equal(module(x), 2 * (x + 10) if end == "in" else 2 * x + 10), "the control: it acts in this one"


def test_a_hook_that_is_being_removed_does_no_harm() -> None:
    """torch reads the hooks of a module and how to call them one after the other; another thread may come between."""
    module, x = Double(False), torch.ones(1, 2, 3)
    with replacing(module, "in", lambda y: y + 10):
        by_name = dict(module._forward_pre_hooks_with_kwargs)
        module._forward_pre_hooks_with_kwargs.clear()  # as half of a removal leaves it
        assert torch.equal(module(x), 2 * x)
        module._forward_pre_hooks_with_kwargs.update(by_name)
        assert torch.equal(module(x), 2 * (x + 10)), "the control: it is there again"


@pytest.mark.parametrize("end", ["in", "out"])
def test_a_hook_that_is_not_called_is_an_error(end: str) -> None:
    module = Double(False)
    with pytest.raises(SelfrepError, match=r"that on a Double was not.*other code"), listening(module, end, print):
        module.forward(torch.ones(1, 2, 3))  # past the hooks, as compiled code goes
    with pytest.raises(KeyError, match="of another kind"), listening(module, end, print):
        raise KeyError("of another kind")
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_a_flattened_stream_is_refused() -> None:
    module, refusal = Double(False), r"output of this Double is \[2, 3\]"
    with pytest.raises(SelfrepError, match=refusal), listening(module, "out", lambda _: None):
        module(torch.ones(2, 3))


class Named(nn.Module):
    """A projection whose input has a name of its own."""

    def forward(self, attention_values: Tensor, *, bias: Tensor | None = None) -> Tensor:
        return 2 * attention_values if bias is None else 2 * attention_values + bias


def test_what_enters_is_the_first_argument_by_whatever_name() -> None:
    module, x, bias = Named(), torch.ones(1, 2, 3), torch.full((1, 2, 3), 5.0)
    with replacing(module, "in", lambda y: y + 10):
        assert torch.equal(module(bias=bias, attention_values=x), 2 * (x + 10) + bias)  # whichever is named first
        assert torch.equal(module(x, bias=bias), 2 * (x + 10) + bias)
        with pytest.raises(SelfrepError, match=r"this Named was called without 'attention_values', with \['bias'\]"):
            module(bias=bias)
    assert torch.equal(module(attention_values=x), 2 * x)


def test_a_wrapped_forward_keeps_its_argument() -> None:
    """As when a library that spreads a model over devices puts its own forward before the module's."""
    module, x, inner = Named(), torch.ones(1, 2, 3), Named().forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Tensor:
        return inner(*args, **kwargs)

    module.forward = forward
    with replacing(module, "in", lambda y: y + 10):
        assert torch.equal(module(attention_values=x), 2 * (x + 10))
