"""A twin in float32 has the numbers of the model and nothing of its memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tests.tiny import tiny_hf
from torch import Tensor

from selfrep.models import twins
from selfrep.models.loading import load_model
from selfrep.models.twins import NoTwin, in_float32

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "gpt_oss"])
@torch.no_grad()
def test_a_twin_is_the_model_in_float32(family: str) -> None:
    hf = tiny_hf(family).to(torch.bfloat16)
    lm = load_model(hf)
    half = hf(IDS).logits
    twin = in_float32(lm)
    assert (twin.dtype, lm.dtype) == (torch.float32, torch.bfloat16)
    wanted = tiny_hf(family)
    for own, rounded in ((wanted.parameters(), hf.parameters()), (wanted.buffers(), hf.buffers())):
        for tensor, value in zip(own, rounded, strict=True):
            tensor.copy_(value)
    torch.testing.assert_close(twin.hf(IDS).logits, wanted(IDS).logits, rtol=0, atol=0)
    assert (twin.hf(IDS).logits - half).abs().max() > 1e-3
    for parameter in twin.hf.parameters():
        parameter.zero_()
    assert torch.equal(hf(IDS).logits, half)


def test_tied_weights_stay_tied() -> None:
    twin = in_float32(load_model(tiny_hf("llama", tie_word_embeddings=True).to(torch.float16)))
    assert twin.hf.lm_head.weight is twin.hf.model.embed_tokens.weight  # type: ignore[union-attr]


def test_without_room_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(parameter: Tensor) -> Iterator[None]:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(twins, "_frozen", no_room)
    with pytest.raises(NoTwin, match="no room on cpu for a twin of LlamaForCausalLM"):
        in_float32(load_model(tiny_hf().to(torch.bfloat16)))


def test_quantised_weights_have_no_float32() -> None:
    hf = tiny_hf().to(torch.bfloat16)
    hf.lm_head.weight = torch.nn.Parameter(hf.lm_head.weight.to(torch.int8), requires_grad=False)  # type: ignore[union-attr]
    with pytest.raises(NoTwin, match="quantised"):
        in_float32(load_model(hf))
