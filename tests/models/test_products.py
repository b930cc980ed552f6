"""Products of half-precision matrices are those of float64 but for float32's rounding."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from selfrep.models import products
from selfrep.models.products import linear, product

HALF = (torch.bfloat16, torch.float16)


def normal(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


@pytest.mark.parametrize("dtype", HALF)
def test_sums_are_not_rounded(dtype: torch.dtype) -> None:
    x, y = normal(3, 2, 5, 64, dtype=dtype), normal(3, 2, 64, 7, dtype=dtype)
    true = x.double() @ y.double()
    out = product(x, y)
    assert out.dtype == torch.float32
    assert (out - true).abs().max() < 1e-5 < 1e-3 < ((x @ y) - true).abs().max()  # the control: torch's own product


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("most", [2**24, 100])
def test_a_layer_is_computed_in_float32_a_piece_at_a_time(
    dtype: torch.dtype, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "MOST_WEIGHTS", most)
    x, weight, bias = normal(2, 3, 64, dtype=dtype), normal(11, 64, dtype=dtype), normal(11, dtype=dtype)
    torch.testing.assert_close(
        linear(x, weight, bias).double(),
        functional.linear(x.double(), weight.double(), bias.double()),
        rtol=1e-6,
        atol=1e-5,
    )


def test_float32_is_left_to_torch() -> None:
    x, weight = normal(2, 3, 64, dtype=torch.float32), normal(11, 64, dtype=torch.float32)
    assert torch.equal(linear(x, weight), functional.linear(x, weight))
    assert torch.equal(product(x, weight.T[None].expand(2, 64, 11)), x @ weight.T)


def test_a_gradient_goes_through() -> None:
    x = normal(1, 3, 8, dtype=torch.bfloat16).requires_grad_()
    y = normal(1, 8, 2, dtype=torch.bfloat16)
    product(x, y).sum().backward()
    torch.testing.assert_close(x.grad, y.sum(-1)[:, None].expand(1, 3, 8), rtol=1e-2, atol=1e-2)


def test_a_device_that_keeps_sums_gets_its_factors_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does (`out_dtype`), pretended: the product is handed matrices in half precision, one batch."""
    shapes = []

    def bmm(x: torch.Tensor, y: torch.Tensor, *, out_dtype: torch.dtype) -> torch.Tensor:
        shapes.append((x.dtype, tuple(x.shape), tuple(y.shape)))
        return (x.double() @ y.double()).to(out_dtype)

    monkeypatch.setattr(products, "_keeps_sums", lambda *_: True)
    monkeypatch.setattr(torch, "bmm", bmm)
    x, y = normal(3, 2, 5, 64, dtype=torch.bfloat16), normal(3, 2, 64, 7, dtype=torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(product(x, y), x.float() @ y.float())
    assert shapes == [(torch.bfloat16, (6, 5, 64), (6, 64, 7))]
