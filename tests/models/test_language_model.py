"""A loaded model: its logits, its hash, what it says of itself, and what no sweep begins with."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import FAMILIES, logits, patched_differences, ragged, tiny, tiny_hf
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.language_model import CAPACITY, LanguageModel
from selfrep.models.loading import load_model

IDS = ragged([9, 9], seed=1)


def all_logits(lm: LanguageModel) -> torch.Tensor:
    return torch.stack([logits(lm.hf, row) for row in IDS])


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_out_the_stream_gives_the_logits_of_the_model(family: str) -> None:
    lm = tiny(family)
    kept: list[torch.Tensor] = []
    handle = lm.blocks[-1].register_forward_hook(
        lambda _, __, out: kept.append(out[0] if isinstance(out, tuple) else out)
    )
    wanted = logits(lm.hf, IDS[0])
    handle.remove()
    torch.testing.assert_close(lm.logits(kept[0][0]), wanted, rtol=1e-5, atol=1e-5)
    some = torch.tensor([5, 1])
    torch.testing.assert_close(lm.logits(kept[0][0], some), wanted[:, some], rtol=1e-5, atol=1e-5)


class Wrapped(torch.nn.Module):
    """A block inside a module of the user's own."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


def test_a_block_without_the_module_of_a_site_is_named() -> None:
    hf = tiny_hf()
    hf.model.layers[1] = Wrapped(hf.model.layers[1])
    lm, plain = load_model(hf), tiny()
    metric = logit_difference(1, 2)
    with pytest.raises(SelfrepError, match=r"'attn_out' is read at 'self_attn'.*block 1 of.*, a Wrapped, has none"):
        patch_tokens(lm, IDS, IDS.flip(1), grid("attn_out"), metric)
    effects, wanted = (patch_tokens(m, IDS, IDS.flip(1), grid("resid_pre"), metric) for m in (lm, plain))
    np.testing.assert_allclose(effects.patched, wanted.patched, atol=1e-5)


# Identity.


def test_the_hash_is_that_of_the_weights() -> None:
    one, same, other = (load_model(tiny_hf(seed=seed)).weights_hash for seed in (0, 0, 1))
    assert one == same != other
    assert len(one) == len(hashlib.sha256().hexdigest())
    half = load_model(tiny_hf().to(torch.bfloat16))
    assert half.weights_hash != one
    changed = tiny_hf()
    with torch.no_grad():
        changed.model.norm.weight[0] += 1e-6
    assert load_model(changed).weights_hash != one


def test_scalar_weights_are_hashed_too() -> None:
    hf = tiny_hf()
    hf.register_parameter("temperature", torch.nn.Parameter(torch.tensor(1.0)))
    assert load_model(hf).weights_hash != load_model(tiny_hf()).weights_hash


def test_nan_logits_are_refused_before_any_sweep() -> None:
    hf = copy.deepcopy(tiny_hf())
    with torch.no_grad():
        hf.model.layers[1].mlp.up_proj.weight[3, 3] = torch.nan
    with pytest.raises(SelfrepError, match="finite numbers; LlamaForCausalLM gives NaN"):
        patch_tokens(load_model(hf), IDS, IDS, grid("resid_pre"), logit_difference(1, 2))


def test_a_model_without_a_template_says_so() -> None:
    tokenizer = make_tokenizer(CHATML)
    lm = load_model(tiny_hf(vocabulary=len(tokenizer)), tokenizer=tokenizer)
    assert "no chat template" not in repr(lm)
    lm.tokenizer.chat_template = None
    assert "chat='plain dialogue (no chat template)'" in repr(lm)
    assert "no chat template" in lm._repr_html_()
    assert "chat=" not in repr(tiny("llama")), "without a tokenizer there is no chat at all"


@pytest.mark.parametrize("field", CAPACITY)
def test_experts_that_drop_tokens_of_a_batch_are_not_replayed(field: str) -> None:
    """A prompt's tokens compete for places with those of the prompts beside it."""
    lm = load_model(tiny_hf("mixtral"))
    lm.require_replay()
    setattr(lm.hf.config, field, 2)
    with pytest.raises(
        CannotReplay, match=rf"experts of MixtralForCausalLM drop tokens beyond a capacity \({field} in"
    ):
        lm.require_replay()


class Crowded(MixtralSparseMoeBlock):
    """Experts that take the first tokens of a batch and no more, as a capacity makes them; the rest they leave."""

    most = 12

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        out = super().forward(hidden_states)
        flat = out.flatten(0, -2)
        return torch.cat([flat[: self.most], 0 * flat[self.most :]]).view_as(out)


def test_prompts_of_a_model_whose_experts_have_a_capacity_are_run_alone() -> None:
    hf = tiny_hf("mixtral")
    for block in hf.model.layers:
        block.mlp.__class__ = Crowded
    lm, metric, plan = load_model(hf), logit_difference(7, 9), grid("attn_out", positions=[-2, -1])
    with pytest.raises(SelfrepError, match=r"must (obey|agree)"):  # the control: without the field, it is noticed
        patch_tokens(lm, IDS, IDS.flip(1), plan, metric)
    hf.config.expert_capacity = Crowded.most
    with pytest.warns(UserWarning, match=r"beyond a capacity \(expert_capacity in.*slow"):
        effects = patch_tokens(lm, IDS, IDS.flip(1), plan, metric)
    wanted = patched_differences(hf, "mixtral", "attn_out", IDS, IDS.flip(1), (-2, -1))
    np.testing.assert_allclose(effects.patched, wanted, atol=1e-4)
