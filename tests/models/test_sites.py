"""The table of sites, against what the sites have to add up to."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace as altered
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import (
    CATCHING,
    FAMILIES,
    N_LAYERS,
    by_risk,
    component_at,
    hooked,
    logits,
    module_at,
    ragged,
    tiny,
    tiny_hf,
)
from torch import Tensor
from transformers import PreTrainedModel

from selfrep.engine.hooks import listening, replacing
from selfrep.errors import SelfrepError
from selfrep.models.sites import (
    HEAD_SITES,
    NEURON_SITES,
    RESIDUAL_SITES,
    SITES,
    Components,
    Tap,
    component,
    site_and_layer,
)

EXPERTS = ("qwen3_moe", "mixtral", "gpt_oss")
COMPONENTS = [
    pytest.param(family, site, marks=[] if family in CATCHING else pytest.mark.slow)
    for family in FAMILIES
    for site in HEAD_SITES + NEURON_SITES
    if not (site == "mlp_post" and family in (*EXPERTS, "opt"))  # OPT's is flat: refused where it is heard, see below
]
"""Every family with every site of heads or neurons that it must offer; slow but for those that catch faults."""


def heard_at(hf: PreTrainedModel, module: torch.nn.Module, end: str, ids: Tensor) -> Tensor:
    """[1, token, feature] what passes there."""
    heard: list[Tensor] = []
    with listening(module, end, lambda x: heard.append(x.clone())):
        logits(hf, ids)
    return heard[0]


@pytest.mark.parametrize("family", by_risk(FAMILIES))
def test_the_stream_is_the_sum_of_what_is_written_to_it(family: str) -> None:
    """Whatever the modules are called: attn_out and mlp_out take resid_pre to resid_mid, and to resid_post."""
    lm = tiny(family)
    flat = family == "opt"  # passes its MLP [row · token, d_model]
    sites = [
        site for site in RESIDUAL_SITES if site in lm.layout.taps and not (flat and site in ("resid_mid", "mlp_out"))
    ]
    heard: dict[str, torch.Tensor] = {}
    with ExitStack() as stack:
        for site in sites:
            module, tap = lm.tap(site, 1)
            keep = partial(lambda site, x: heard.update({site: x.clone()}), site)
            stack.enter_context(listening(module, tap.end, keep))
        logits(lm.hf, ragged([7], seed=1)[0])
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


@pytest.mark.parametrize("family", by_risk(["llama", "gemma2", "gpt2", "gpt_neox"], ["gemma2"]))
def test_transformer_lens_hears_the_same_at_its_hooks(family: str) -> None:
    lm, ids = tiny(family), ragged([6], seed=2)
    _, cache = lm.bridge.run_with_cache(ids)
    for site in set(lm.layout.taps) & set(RESIDUAL_SITES):
        module, tap = lm.tap(site, 1)
        heard: list[torch.Tensor] = []
        with listening(module, tap.end, heard.append):
            logits(lm.hf, ids[0])
        torch.testing.assert_close(heard[0], cache[f"blocks.1.hook_{site}"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "site"), COMPONENTS)
def test_components_are_read_where_a_person_would_slice(family: str, site: str) -> None:
    lm, ids = tiny(family), ragged([6], seed=3)[0]
    module, tap = lm.tap(site, 1)
    where, end, read, _ = component_at(lm.hf, family, site, 1)
    assert (module, tap.end) == (where, end)
    x = heard_at(lm.hf, module, end, ids)
    assert tap.part is not None
    assert torch.equal(tap.part.read(x), read(x))
    beside = altered(tap.part, offset=tap.part.offset + 1, n=tap.part.n - 1)  # a control that must fail
    assert not torch.equal(beside.read(x), read(x)[..., :-1, :])


@pytest.mark.parametrize(("family", "site"), COMPONENTS)
def test_writing_changes_the_named_component_and_nothing_else(family: str, site: str) -> None:
    lm, ids = tiny(family), ragged([6], seed=4)[0]
    module, tap = lm.tap(site, 1)
    where, end, read, write = component_at(lm.hf, family, site, 1)
    part = tap.part
    assert part is not None
    chosen = part.n - 1
    new = torch.randn(6, part.size, generator=torch.Generator().manual_seed(0)) * 9
    written: list[tuple[Tensor, Tensor]] = []

    def ours(x: Tensor, at: int = chosen) -> Tensor:
        values = part.read(x).clone()
        values[..., at, :] = new
        written.append((x.clone(), part.write(x, values)))
        return written[-1][1]

    def by_hand(x: Tensor) -> Tensor:
        values = read(x).clone()
        values[..., chosen, :] = new
        return write(x, values)

    with hooked(where, end, by_hand):
        wanted = logits(lm.hf, ids)
    with replacing(module, tap.end, ours):
        got = logits(lm.hf, ids)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    assert (wanted - logits(lm.hf, ids)).abs().max() > 1e-3  # it matters …
    with replacing(module, tap.end, lambda x: ours(x, 0)):
        assert (logits(lm.hf, ids) - wanted).abs().max() > 1e-3  # … and so does which
    before, after = written[0]
    others = [i for i in range(part.n) if i != chosen]
    assert torch.equal(read(after)[..., others, :], read(before)[..., others, :])
    assert torch.equal(read(after)[0, :, chosen], new)
    assert int((before != after).sum()) == new.numel()  # no feature of another site in the same module either


@pytest.mark.parametrize(
    "family",
    by_risk(["llama", "gpt2", "phi3", "gpt_neox", "gemma2", "qwen3", "cohere", "starcoder2"], ["gpt2", "phi3"]),
)
def test_transformer_lens_hears_the_same_components(family: str) -> None:
    lm, ids = tiny(family), ragged([6], seed=2)
    _, cache = lm.bridge.run_with_cache(ids)
    for site in HEAD_SITES + NEURON_SITES:
        module, tap = lm.tap(site, 1)
        assert tap.part is not None
        ours = tap.part.read(heard_at(lm.hf, module, tap.end, ids[0]))
        theirs = cache[f"blocks.1.{'mlp.hook_post' if site == 'mlp_post' else f'attn.hook_{site}'}"]
        torch.testing.assert_close(ours.squeeze(-1) if site == "mlp_post" else ours, theirs, rtol=1e-5, atol=1e-5)


# What is not there.


def test_flat_neurons_are_refused_when_heard() -> None:
    lm = tiny("opt")
    module, tap = lm.tap("mlp_post", 1)
    refusal = r"input of this Linear is \[6, 48\]"
    with pytest.raises(SelfrepError, match=refusal), listening(module, tap.end, lambda _: None):
        logits(lm.hf, ragged([6], seed=1)[0])


def test_parallel_blocks_have_no_middle() -> None:
    for family in ("cohere", "gpt_neox", "phi"):
        assert set(SITES) - set(tiny(family).layout.taps) == {"resid_mid"}
    with pytest.raises(SelfrepError, match=r"GPTNeoXForCausalLM has no site 'resid_mid'.*resid_pre, resid_post"):
        tiny("gpt_neox").tap("resid_mid", 0)


def test_a_residual_multiplier_takes_away_the_names_it_would_make_wrong() -> None:
    """Granite scales what attention and MLP say before adding it: their outputs are not what is written."""
    assert set(SITES) - set(tiny("granite").layout.taps) == {"attn_out", "mlp_out"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resid_pre", ("resid_pre", None)),
        ("hook_mlp_out", ("mlp_out", None)),
        ("blocks.3.hook_resid_mid", ("resid_mid", 3)),
        ("blocks.11.attn.hook_v", ("v", 11)),
        ("blocks.0.mlp.hook_post", ("mlp_post", 0)),
    ],
)
def test_hooks_of_transformer_lens_name_sites(name: str, meant: tuple[str, int | None]) -> None:
    assert site_and_layer(name) == meant


@pytest.mark.parametrize(
    "name", ["", "resid", "attn.hook_out", "blocks.x.hook_z", "mlp.hook_z", "hook_post_", 3, None, ["z"]]
)
def test_what_names_no_site_is_refused(name: object) -> None:
    with pytest.raises(SelfrepError, match=r"A site is one of resid_pre, .*, or a hook of TransformerLens"):
        site_and_layer(name)


def test_unknown_sites_are_refused() -> None:
    with pytest.raises(SelfrepError, match=r"A site is one of resid_pre, .*; got 'y'"):
        tiny().tap("y", 0)


def test_every_site_says_what_it_holds() -> None:
    assert (*RESIDUAL_SITES, *HEAD_SITES, *NEURON_SITES) == SITES
    assert [component(site) for site in SITES] == [None] * 5 + ["head"] * 4 + ["neuron"]
    for family in FAMILIES:
        assert all((tap.part is None) == (component(site) is None) for site, tap in tiny(family).layout.taps.items())


def test_the_empty_path_is_the_block_itself() -> None:
    block = tiny_hf().model.layers[0]
    assert Tap("", "out").module(block) is block
    assert Tap("mlp.up_proj", "in").module(block) is block.mlp.up_proj


# Parts alone.


@given(
    n=st.integers(1, 5), size=st.integers(1, 4), gap=st.integers(0, 3), offset=st.integers(0, 3), rest=st.integers(0, 3)
)
def test_parts_are_columns(n: int, size: int, gap: int, offset: int, rest: int) -> None:
    part = Components(n, size, size + gap, offset)
    width = offset + n * size + (n - 1) * gap + rest
    x = torch.arange(2.0 * width).view(2, width)
    columns = torch.tensor([[offset + i * (size + gap) + j for j in range(size)] for i in range(n)])
    assert torch.equal(part.read(x), x[:, columns])
    assert part.read(x).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()  # a view
    before = x.clone()
    after = part.write(x, -1 - part.read(x))
    assert torch.equal(x, before)
    assert torch.equal(
        after < 0, torch.zeros(width, dtype=torch.bool).index_fill(0, columns.flatten(), True).expand(2, -1)
    )
    assert torch.equal(part.write(x, part.read(x)), x)
    with pytest.raises(SelfrepError, match=r"components of .* need"):
        part.read(x[:, : width - rest - 1])


def test_gradients_flow_through_parts() -> None:
    part = Components(2, 2, 3, 1)
    x = torch.randn(1, 7, requires_grad=True)
    values = torch.randn(1, 2, 2, requires_grad=True)
    part.write(x, values).sum().backward()
    assert x.grad is not None
    assert values.grad is not None
    assert x.grad.tolist() == [[1, 0, 0, 1, 0, 0, 1]]
    assert torch.equal(values.grad, torch.ones(1, 2, 2))
