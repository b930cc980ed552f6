"""The table of sites, against what the sites have to add up to."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import FAMILIES, N_LAYERS, logits, module_at, ragged, tiny, tiny_hf
from transformers import AutoConfig, AutoModelForCausalLM

from selfrep.engine.hooks import listen
from selfrep.errors import SelfrepError
from selfrep.models.sites import SITES, Tap, layout_of


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stream_is_the_sum_of_what_is_written_to_it(family: str) -> None:
    """Whatever the modules are called: attn_out and mlp_out take resid_pre to resid_mid, and to resid_post."""
    lm = tiny(family)
    flat = family == "opt"  # passes its MLP [row · token, d_model]
    sites = [site for site in lm.layout.taps if not (flat and site in ("resid_mid", "mlp_out"))]
    heard: dict[str, torch.Tensor] = {}
    removers = []
    for site in sites:
        module, tap = lm.tap(site, 1)
        removers.append(listen(module, tap.end, lambda x, site=site: heard.update({site: x.clone()})))
    logits(lm.hf, ragged([7], seed=1)[0])
    for remove in removers:
        remove()
    if {"resid_mid", "attn_out"} <= set(heard):
        torch.testing.assert_close(heard["resid_mid"], heard["resid_pre"] + heard["attn_out"], rtol=1e-4, atol=1e-4)
    if {"mlp_out", "attn_out"} <= set(heard):
        whole = heard["resid_pre"] + heard["attn_out"] + heard["mlp_out"]
        torch.testing.assert_close(heard["resid_post"], whole, rtol=1e-4, atol=1e-4)
    assert (heard["resid_post"] - heard["resid_pre"]).abs().max() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_sites_are_the_modules_that_a_person_would_name(family: str) -> None:
    lm = tiny(family)
    for site in lm.layout.taps:
        for layer in range(N_LAYERS):
            module, tap = lm.tap(site, layer)
            assert (module, tap.end) == module_at(lm.hf, family, site, layer)


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_transformer_lens_hears_the_same_at_its_hooks(family: str) -> None:
    lm, ids = tiny(family), ragged([6], seed=2)
    _, cache = lm.bridge.run_with_cache(ids)
    for site in lm.layout.taps:
        module, tap = lm.tap(site, 1)
        heard: list[torch.Tensor] = []
        remove = listen(module, tap.end, heard.append)
        logits(lm.hf, ids[0])
        remove()
        torch.testing.assert_close(heard[0], cache[f"blocks.1.hook_{site}"], rtol=1e-4, atol=1e-4)


def test_parallel_blocks_have_no_middle() -> None:
    for family in ("cohere", "gpt_neox", "phi"):
        assert set(tiny(family).layout.taps) == set(SITES) - {"resid_mid"}
    with pytest.raises(SelfrepError, match=r"GPTNeoXForCausalLM has no site 'resid_mid'.*resid_pre, resid_post"):
        tiny("gpt_neox").tap("resid_mid", 0)


def test_a_residual_multiplier_takes_away_the_names_it_would_make_wrong() -> None:
    """Granite scales what attention and MLP say before adding it: their outputs are not what is written."""
    assert set(tiny("granite").layout.taps) == {"resid_pre", "resid_mid", "resid_post"}


def test_unknown_sites_are_refused() -> None:
    with pytest.raises(SelfrepError, match=r"A site is one of resid_pre, .*; got 'z'"):
        tiny().tap("z", 0)


def test_the_empty_path_is_the_block_itself() -> None:
    block = tiny_hf().model.layers[0]
    assert Tap("", "out").module(block) is block
    assert Tap("mlp.up_proj", "in").module(block) is block.mlp.up_proj


def test_architectures_without_an_adapter_are_refused() -> None:
    config = AutoConfig.for_model("helium", vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    with pytest.raises(SelfrepError, match="adapter for; HeliumForCausalLM is none"):
        layout_of(AutoModelForCausalLM.from_config(config))
