"""Recordings and walks, below the level of pairs and plans."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.tiny import N_LAYERS, hooked, logits, module_at, ragged, tiny, values_at
from transformers import AutoConfig, AutoModelForCausalLM

from selfrep.engine.replay.recording import record
from selfrep.engine.replay.walk import PatchedRun, walk, write_site
from selfrep.errors import SelfrepError
from selfrep.models.language_model import load_model
from selfrep.models.sites import RESIDUAL_SITES

FAMILIES = ("llama", "gemma3_text", "gpt2", "olmo2", "gpt_neox")


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


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), family=st.sampled_from(FAMILIES), start=st.integers(0, 7))
def test_the_whole_stream_of_another_prompt_makes_it_that_prompt(seed: int, family: str, start: int) -> None:
    """From whatever block it joins in; from wherever the two prompts part; in rows with and without padding."""
    lm = tiny(family)
    target, source = ragged([8, 8], seed=seed), ragged([8, 8], seed=seed + 1)
    source[:, :start] = target[:, :start]
    if start == 7:
        target[1, :3] = source[1, :3] = -1
    assume(not (source == target).all(1).any())
    kept, other = (record(lm, ids.clamp(min=0), ids >= 0) for ids in (target, source))
    everything = torch.ones(2, 8 - start, dtype=torch.bool)
    entries = [PatchedRun(block, everything, other.residuals[block][:, start:]) for block in (N_LAYERS, 0, 2, 1)]
    for reads in (1, 3, 8):  # also tokens before the walk's start, at which nothing has changed
        ends = lm.logits(walk(lm, kept, start, entries, reads=reads))[..., 7]
        for b, (row, own) in enumerate(zip(source, target, strict=True)):
            n = min(reads, int((row >= 0).sum()))
            wanted = logits(lm.hf, row[row >= 0])[-n:, 7]
            torch.testing.assert_close(ends[:, b, -n:], wanted.expand(4, n), rtol=1e-4, atol=1e-4)
            assert reads > 1 or (wanted - logits(lm.hf, own[own >= 0])[-1, 7]).abs() > 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", [0, 2])
def test_a_value_written_inside_a_block_leaves_it_as_in_the_plain_model(family: str, start: int) -> None:
    lm, ids, others = tiny(family), ragged([8, 5], seed=3), ragged([8, 5], seed=4)
    kept = record(lm, ids.clamp(min=0), ids >= 0, start=start)
    for site in set(lm.layout.taps) & {"attn_out", "mlp_out"}:
        values = record(lm, others.clamp(min=0), others >= 0, start=start, sites=[site]).sites[site][1]
        leaving = write_site(lm, kept, site, 1, values)
        for b, row in enumerate(ids):
            own = row[row >= 0]
            new = values[b, -min(len(own), 8 - start) :]

            def change(x: torch.Tensor, new: torch.Tensor = new) -> torch.Tensor:
                return torch.cat([x[:, : -len(new)], new[None]], 1)

            with hooked(*module_at(lm.hf, family, site, 1), change):
                plain = values_at(lm.hf, family, "resid_post", 1, own)
            torch.testing.assert_close(leaving[b, -len(new) :], plain[-len(new) :], rtol=1e-4, atol=1e-4)


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
