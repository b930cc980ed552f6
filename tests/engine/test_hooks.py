"""Hooks on either end of a module, whatever it is called with and whatever it returns."""

from __future__ import annotations

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
