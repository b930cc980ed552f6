"""One pass over prompts, and what it leaves for replays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.engine.replay.test_walk import FAMILIES
from tests.tiny import N_LAYERS, logits, ragged, tiny, values_at
from transformers import AutoConfig, AutoModelForCausalLM

from selfrep.engine.replay.recording import record
from selfrep.errors import SelfrepError
from selfrep.models.loading import load_model
from selfrep.models.sites import RESIDUAL_SITES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recording_holds_what_the_plain_model_computes(family: str) -> None:
    lm, ids = tiny(family), ragged([9, 5, 7], seed=1)
    sites = [site for site in RESIDUAL_SITES if site in lm.layout.taps]
    kept = record(lm, ids.clamp(min=0), ids >= 0, start=3, sites=sites)
    assert (kept.rows, kept.width, kept.start) == (3, 9, 3)
    for b, row in enumerate(ids):
        own = row[row >= 0]
        n = min(len(own), 6)
        for layer in range(N_LAYERS):
            for site in sites:
                plain = values_at(lm.hf, family, site, layer, own)
                torch.testing.assert_close(kept.sites[site][layer][b, -n:], plain[-n:], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(
                kept.residuals[layer][b, -n:],
                values_at(lm.hf, family, "resid_pre", layer, own)[-n:],
                rtol=1e-4,
                atol=1e-4,
            )
        torch.testing.assert_close(lm.logits(kept.residuals[-1][b, -n:]), logits(lm.hf, own)[-n:], rtol=1e-4, atol=1e-4)


def test_recording_leaves_the_model_as_it_was() -> None:
    lm, ids = tiny(), ragged([6], seed=1)
    attention, before = lm.hf.config._attn_implementation, logits(lm.hf, ids[0])
    record(lm, ids, ids >= 0, sites=["attn_out"])
    assert lm.hf.config._attn_implementation == attention
    assert torch.equal(logits(lm.hf, ids[0]), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.hf.modules())


def test_a_place_is_found_between_blocks_and_inside_them() -> None:
    lm, ids = tiny(), ragged([6, 4], seed=1)
    kept = record(lm, ids.clamp(min=0), ids >= 0, sites=["attn_out"])
    for layer in range(N_LAYERS):
        for site in ("resid_pre", "resid_post", "attn_out"):
            own = values_at(lm.hf, "llama", site, layer, ids[0])
            torch.testing.assert_close(kept.at(site, layer)[0], own, rtol=1e-4, atol=1e-4)
    with pytest.raises(KeyError):
        kept.at("mlp_out", 0)


@pytest.mark.parametrize(
    ("architecture", "config", "message"),
    [
        ("gpt_neo", {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}, "takes none"),
        ("bloom", {"n_layer": 2, "n_head": 4}, "takes none"),
        ("mamba", {"num_hidden_layers": 2}, "linear_attention"),
        ("llama4_text", {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
                         "num_local_experts": 2, "intermediate_size_mlp": 48}, "chunked_attention"),
    ],
)  # fmt: skip
def test_attention_that_cannot_be_replaced_is_refused(architecture: str, config: dict[str, Any], message: str) -> None:
    hf = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, vocab_size=64, hidden_size=32, **config))
    ids = ragged([5], seed=1)
    with pytest.raises(SelfrepError, match=message):
        record(load_model(hf), ids, ids >= 0)
