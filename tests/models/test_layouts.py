"""Sites are where they must be for attention to be attention, on every family; what cannot be told is not offered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace as altered

import pytest
import torch
from tests.tiny import (
    CATCHING,
    FAMILIES,
    JOINT,
    by_risk,
    logits,
    ragged,
    tiny_hf,
)
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from selfrep.engine.hooks import replacing
from selfrep.errors import SelfrepError
from selfrep.models.layouts import layout_of
from selfrep.models.sites import (
    HEAD_SITES,
    NEURON_SITES,
    Components,
    Site,
    Tap,
)

EXPERTS = ("qwen3_moe", "mixtral", "gpt_oss")


# What heads are, whatever their modules are called and however these arrange them: attention is bilinear in q and k,
# and linear in v. Nothing below knows an architecture.


def negated(hf: PreTrainedModel, ids: Tensor, heads: dict[Site, list[int]], *, taps: dict[Site, Tap]) -> Tensor:
    """[token, d_vocab] with the sign of these heads turned, at the second block."""
    layout = layout_of(hf)
    block = hf.get_submodule(layout.blocks)[1]

    def turn(part: Components, chosen: list[int]) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            values = part.read(x).clone()
            values[..., chosen, :] *= -1
            return part.write(x, values)

        return change

    with ExitStack() as hooks:
        for site, chosen in heads.items():
            tap = taps[site]
            assert tap.part is not None
            hooks.enter_context(replacing(tap.module(block), tap.end, turn(tap.part, chosen)))
        return logits(hf, ids)


LAWS = ("qk", "vz")


def laws(hf: PreTrainedModel, taps: dict[Site, Tap], asked: Sequence[str] = LAWS) -> dict[str, list[bool]]:
    """For each key-value head, whether the logits are the same:

    "qk": if the signs of k and of the q that look at it are turned, as if none were;
    "vz": if the sign of v is turned, as if that of the z that it is read into were.
    """
    ids = ragged([6], seed=5)[0]
    n, n_keys = (part.n for site in ("z", "k") if (part := taps[site].part))
    found: dict[str, list[bool]] = {law: [] for law in asked}
    for key in range(n_keys):
        group = list(range(key * n // n_keys, (key + 1) * n // n_keys))
        for law, one, other in (
            ("qk", {"q": group, "k": [key]}, {}),
            ("vz", {"v": [key]}, {"z": group}),
        ):
            if law in asked:
                a, b = (negated(hf, ids, heads, taps=taps) for heads in (one, other))
                found[law].append(torch.allclose(a, b, rtol=1e-4, atol=1e-4))
    return found


@pytest.mark.parametrize("family", by_risk(FAMILIES | JOINT, [*CATCHING, "phi3", "bloom", "codegen", "falcon, many"]))
def test_scores_are_bilinear_in_q_and_k_and_heads_linear_in_v(family: str) -> None:
    hf = tiny_hf(family)
    taps = layout_of(hf).taps
    assert all(all(held) for held in laws(hf, taps).values())
    swapped = laws(hf, taps | {"k": taps["v"], "v": taps["k"]})  # controls, which must fail
    assert not any(swapped["qk"] + swapped["vz"])
    for law, sites in {"qk": ("q", "k"), "vz": ("v", "z")}.items():
        for site in sites:
            part = taps[site].part
            assert part is not None
            less = altered(part, offset=part.offset + 1, size=part.size - 1)  # one feature off, and one short
            assert not any(laws(hf, taps | {site: altered(taps[site], part=less)}, [law])[law])


@pytest.mark.parametrize("family", ["llama", "gemma2", "qwen3", "phi3", "mixtral"])
def test_heads_need_not_divide_the_width_of_the_model(family: str) -> None:
    hf = tiny_hf(family, head_dim=12)
    taps = layout_of(hf).taps
    sizes = {site: (part.n, part.size) for site in HEAD_SITES if (part := taps[site].part)}
    assert sizes == {"z": (4, 12), "q": (4, 12), "k": (2, 12), "v": (2, 12)}
    assert all(all(held) for held in laws(hf, taps).values())


# What is not there.


@pytest.mark.parametrize(
    ("family", "changes", "lacking"),
    [
        ("gpt_bigcode", {"multi_query": False}, set("qkv")),  # the adapter is made for one key-value head
        ("codegen", {"n_head": 8}, set("qkv")),  # two stretches of four heads: not evenly spaced
        ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}, set("qkv")),
        ("falcon, many", {"new_decoder_architecture": True, "num_kv_heads": 2}, set("qkv")),
        *((family, {}, {"mlp_post"}) for family in EXPERTS),
    ],
)
def test_what_cannot_be_told_is_not_offered(family: str, changes: dict[str, int], lacking: set[str]) -> None:
    layout = layout_of(tiny_hf(family, **changes))
    assert set(HEAD_SITES + NEURON_SITES) - set(layout.taps) == lacking
    with pytest.raises(SelfrepError, match=f"has no site '{min(lacking)}'.*It offers resid_pre, "):
        layout.tap(min(lacking))


def test_blocks_of_several_kinds_offer_what_all_of_them_have() -> None:
    """Qwen3-Next: three blocks of linear attention to one of full; its q_proj passes gates besides."""
    config = AutoConfig.for_model("qwen3_next", vocab_size=64, hidden_size=32, num_hidden_layers=4, head_dim=8)
    with torch.device("meta"):  # no weight is looked at
        hf = AutoModelForCausalLM.from_config(config)
    assert not set(layout_of(hf).taps) & set(HEAD_SITES + NEURON_SITES)


def test_architectures_without_an_adapter_are_refused() -> None:
    config = AutoConfig.for_model("helium", vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    with pytest.raises(SelfrepError, match="adapter for; HeliumForCausalLM is none"):
        layout_of(AutoModelForCausalLM.from_config(config))
