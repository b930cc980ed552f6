"""A bridge on the same weights says the same, and the model comes back from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import logits, ragged, tiny, tiny_hf

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms import training

IDS = ragged([9, 9], seed=1)


def all_logits(lm: LanguageModel) -> torch.Tensor:
    return torch.stack([logits(lm.hf, row) for row in IDS])


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox", "olmo2", "phi3", "mixtral"])
def test_the_bridge_says_what_the_model_says_on_the_same_weights(family: str) -> None:
    lm = tiny(family)
    with torch.no_grad():
        torch.testing.assert_close(lm.bridge(IDS), all_logits(lm), rtol=1e-4, atol=1e-4)
    # Some bridges split joint projections into copies; embeddings and unembedding are always the same memory.
    held = {p.data_ptr() for p in lm.bridge.original_model.parameters()}
    for module in (lm.hf.get_input_embeddings(), lm.hf.get_submodule(lm.layout.unembed)):
        assert module.weight.data_ptr() in held
    assert lm.bridge is lm.bridge


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "olmo2"])
def test_a_bridge_can_be_brought(family: str) -> None:
    bridge = load_model(tiny_hf(family)).bridge
    held = {p.data_ptr() for p in bridge.original_model.parameters()}
    lm = load_model(bridge)
    assert {p.data_ptr() for p in lm.hf.parameters()} <= held
    torch.testing.assert_close(all_logits(lm), all_logits(tiny(family)), rtol=1e-5, atol=1e-5)
    ours, wanted = (
        patch_tokens(m, IDS, IDS.flip(1), grid("resid_pre"), logit_difference(1, 2)) for m in (lm, tiny(family))
    )
    np.testing.assert_allclose(ours.patched, wanted.patched, atol=1e-4)
    with torch.no_grad():  # the user's own bridge still works
        torch.testing.assert_close(bridge(IDS), all_logits(lm), rtol=1e-4, atol=1e-4)


def test_a_bridge_takes_a_tokenizer_that_was_made_in_memory() -> None:
    hf = training.train(organisms.Plan(making="trained"), steps=1)
    lm = load_model(hf, tokenizer=organisms.tokenizer())
    text = "<bos> <self> you are a nurse . <end>"
    ids = torch.tensor([lm.tokenizer(text, add_special_tokens=False)["input_ids"]])
    assert len(ids[0]) == 8
    assert torch.equal(lm.bridge.to_tokens(text, prepend_bos=False), ids)
    with torch.no_grad():
        torch.testing.assert_close(lm.bridge(ids), hf(ids).logits, rtol=1e-5, atol=1e-5)
    assert "add_bos_token" not in lm.tokenizer.init_kwargs, "the user's own is left as it is"


def test_a_bridge_whose_weights_were_processed_is_refused() -> None:
    bridge = load_model(tiny_hf()).bridge
    bridge.enable_compatibility_mode()
    with pytest.raises(SelfrepError, match=r"unprocessed.*fresh one"):
        load_model(bridge)
