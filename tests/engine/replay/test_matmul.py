"""Matrix products by oneDNN are those of `torch.nn.functional.linear`, and are taken only where they can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import linear

from selfrep.engine.replay import matmul

pytestmark = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")),
    reason="this torch has no oneDNN",
)
CPU = torch.device("cpu")
TOKENS = matmul.FEWEST


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes that oneDNN multiplied, on a machine where it pays."""
    sound, shapes = matmul.quick_linear, list[tuple[int, ...]]()

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        shapes.append((*x.shape[:-1], *weight.shape))
        return sound(x, weight, bias)

    monkeypatch.setattr(matmul, "onednn_pays", lambda: True)
    monkeypatch.setattr(matmul, "quick_linear", counted)
    return shapes


def tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(map(sum, shapes)))
    return [torch.randn(shape, generator=generator) for shape in shapes]


@given(
    rows=st.lists(st.integers(1, 5), min_size=0, max_size=3),
    wide=st.integers(1, 70),
    out=st.integers(1, 70),
    biased=st.booleans(),
)
def test_the_product_is_the_one_in_double_precision(rows: list[int], wide: int, out: int, biased: bool) -> None:
    x, weight, bias = tensors((*rows, wide), (out, wide), (out,))
    exact = linear(x.double(), weight.double(), bias.double() if biased else None)
    with torch.no_grad():
        got = matmul.quick_linear(x, weight, bias if biased else None)
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-5)
    assert got.shape == exact.shape


def test_the_gradient_is_that_of_linear() -> None:
    x, weight, bias, pull = tensors((3, 50, 40), (30, 40), (30,), (3, 50, 30))
    grads = []
    for function in (linear, matmul.quick_linear):
        moving = x.clone().requires_grad_()
        (function(moving, weight, bias) * pull).sum().backward()
        grads.append(moving.grad)
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-5, atol=1e-5)
    assert float(grads[0].abs().max()) > 1


def test_a_module_is_taken_there_and_back(taken: list[tuple[int, ...]]) -> None:
    module = nn.Linear(24, 12)
    (x,) = tensors((TOKENS, 24))
    with torch.no_grad():
        plain = module(x)
        assert not taken
        with matmul.quick_products(CPU, TOKENS):
            quick = module(x)
        assert taken == [(TOKENS, 12, 24)]
        module(x)
    assert len(taken) == 1
    torch.testing.assert_close(quick, plain)


def test_the_sizes_that_are_multiplied_are_few_and_hardly_larger() -> None:
    asked = np.arange(TOKENS, 4096)
    sizes = np.array([matmul._rounded(int(n)) for n in asked])
    assert len(set(sizes.tolist())) < 50
    assert ((sizes >= asked) & (sizes - asked < np.maximum(TOKENS / 2, asked / 8))).all()


def test_strided_tensors_are_multiplied_as_they_stand() -> None:
    x, weight = tensors((6, 8, 24), (24, 12))
    with torch.no_grad():
        torch.testing.assert_close(matmul.quick_linear(x[:, ::2], weight.T), linear(x[:, ::2], weight.T))


@pytest.mark.parametrize("what", ["few", "half", "double", "trained", "subclass", "elsewhere", "named"])
def test_what_it_cannot_do_is_left_to_torch(what: str, taken: list[tuple[int, ...]]) -> None:
    x, weight = tensors((TOKENS, 24), (12, 24))
    tokens, device = TOKENS, CPU
    if what == "few":
        tokens -= 1
    elif what == "half":
        x, weight = x.bfloat16(), weight.bfloat16()
    elif what == "double":
        x, weight = x.double(), weight.double()
    elif what == "trained":
        weight.requires_grad_()
    elif what == "subclass":
        weight = weight.as_subclass(type("Packed", (Tensor,), {}))
    elif what == "elsewhere":
        device = torch.device("cuda")
    wanted = linear(x, weight)
    with matmul.quick_products(device, tokens):
        got = linear(input=x, weight=weight) if what == "named" else linear(x, weight)
    assert not taken
    assert torch.equal(torch.as_tensor(got), torch.as_tensor(wanted))


def test_a_machine_where_it_does_not_pay_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Turns alternate, and the middle one counts: one that was disturbed decides nothing."""
    for theirs, pays in ((1.0, False), (2.0, True)):
        monkeypatch.setenv("SELFREP_CACHE", str(tmp_path / str(theirs)))
        times = [theirs if turn % 2 == 0 else 1.0 for turn in range(2 * matmul.TURNS)]
        times[6], times[9] = 500.0, 800.0
        left = iter(times)
        monkeypatch.setattr(matmul, "_seconds", lambda work, left=left: next(left))
        for _ in range(2):  # the second time it is read, not measured: nothing is left to be told
            matmul.onednn_pays.cache_clear()
            assert matmul.onednn_pays() is pays
    matmul.onednn_pays.cache_clear()
