"""What changes the state of a model, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.tiny import logits, ragged, tiny_hf
from torch import nn

from selfrep.models.state import (
    is_bare_linear,
    is_compiled,
    others,
    others_on_gradients,
    state_of,
    weights_digest,
)

IDS = ragged([9], seed=1)[0]


def _step_of_an_optimiser(hf: Any) -> None:
    optimiser = torch.optim.SGD(hf.model.layers[1].mlp.up_proj.parameters(), lr=1e-3)
    hf(IDS[None]).logits.sum().backward()
    optimiser.step()
    hf.zero_grad()


@torch.no_grad()
def _one_number(hf: Any) -> None:
    hf.lm_head.weight[3, 5] += 1


def _a_row_past_the_counter(hf: Any) -> None:
    hf.model.embed_tokens.weight.data[7] *= 1.001


def _all_past_the_counter(hf: Any) -> None:
    hf.model.layers[2].self_attn.o_proj.weight.data.mul_(1 + 1e-6)


def _another_tensor(hf: Any) -> None:
    hf.model.layers[0].mlp.down_proj.weight = nn.Parameter(2 * hf.model.layers[0].mlp.down_proj.weight.detach())


def _precision(hf: Any) -> None:
    hf.to(torch.bfloat16)


WEIGHTS = [
    _step_of_an_optimiser, _one_number, _a_row_past_the_counter, _all_past_the_counter, _another_tensor, _precision,
]  # fmt: skip


@pytest.mark.parametrize("change", WEIGHTS)
def test_other_weights_are_another_state_and_have_another_hash(change: Callable[[Any], None]) -> None:
    hf = tiny_hf()
    before, digest = state_of(hf), weights_digest(hf)
    logits(hf, IDS)
    assert state_of(hf) == before, "the control: running the model changes nothing"
    change(hf)
    assert state_of(hf).weights != before.weights
    assert weights_digest(hf) != digest


def _a_hook(hf: Any) -> None:
    hf.model.layers[1].register_forward_hook(lambda *_: None)


def _a_hook_everywhere(hf: Any) -> None:
    hf.model.norm.register_full_backward_hook(lambda *_: None)


def _a_setting(hf: Any) -> None:
    hf.model.norm.variance_epsilon = 0.5


def _a_setting_of_all(hf: Any) -> None:
    hf.config.attention_dropout = 0.5


def _another_kind_of_module(hf: Any) -> None:
    hf.model.layers[1].mlp.act_fn = nn.GELU()


MODULES = [_a_hook, _a_hook_everywhere, _a_setting, _a_setting_of_all, _another_kind_of_module]


@pytest.mark.parametrize("change", MODULES)
def test_other_modules_are_another_state_on_the_same_weights(change: Callable[[Any], None]) -> None:
    hf = tiny_hf()
    before = state_of(hf)
    change(hf)
    assert state_of(hf).weights == before.weights
    assert state_of(hf).model != before.model


def test_a_weight_that_is_taken_away_and_put_back_is_the_same_state() -> None:
    """As layers do that compute one weight from another at each pass; torch then names the weights in another order."""
    hf = tiny_hf()
    before, order = state_of(hf), [name for name, _ in hf.named_parameters()]
    projection = hf.model.layers[1].mlp.up_proj
    weight = projection._parameters.pop("weight")
    assert state_of(hf).weights != before.weights
    projection._parameters["weight"] = weight
    gate = hf.model.layers[0].mlp._modules.pop("gate_proj")
    hf.model.layers[0].mlp._modules["gate_proj"] = gate
    assert [name for name, _ in hf.named_parameters()] != order
    assert (state_of(hf).trained, state_of(hf).weights) == (before.trained, before.weights)


def test_modes_are_no_part_of_the_state() -> None:
    hf = tiny_hf()
    before = state_of(hf)
    hf.train().requires_grad_(False)
    assert state_of(hf) == before


def test_what_others_put_between_modules_is_named() -> None:
    hf = tiny_hf()
    hf(IDS[None], output_hidden_states=True)  # for which transformers sets hooks of its own, and leaves them there
    assert any(module._forward_hooks for module in hf.modules())
    assert others(hf) == []
    hf.model.layers[1].register_forward_pre_hook(print)
    hf.model.layers[2].mlp.forward = lambda x: x
    hf.model.norm.register_full_backward_hook(print)
    hf.model.embed_tokens.register_full_backward_pre_hook(print)
    assert others(hf) == ["a forward pre hook on model.layers.1", "a forward of its own in model.layers.2.mlp"]
    assert others_on_gradients(hf) == ["a backward pre hook on model.embed_tokens", "a backward hook on model.norm"]
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert others(tiny_hf()) == ["a forward hook on every module"]
        assert others_on_gradients(tiny_hf()) == []
    finally:
        handle.remove()


def test_what_torch_compiles_is_known_whatever_the_way() -> None:
    def names(hf: Any) -> list[str]:
        return [type(module).__name__ for module in hf.modules() if is_compiled(module)]

    hf = tiny_hf()
    assert names(hf) == []
    hf.model.layers[0].compile(backend="eager")
    hf.model.layers[1] = torch.compile(hf.model.layers[1], backend="eager")  # type: ignore[assignment]
    hf.model.layers[2].mlp.forward = torch.compile(hf.model.layers[2].mlp.forward, backend="eager")
    assert names(hf) == ["LlamaDecoderLayer", "OptimizedModule", "LlamaMLP"]
    assert others(hf) == []
    assert weights_digest(hf) == weights_digest(tiny_hf())


def test_a_linear_layer_is_bare_or_is_called() -> None:
    layer = nn.Linear(4, 3)
    assert is_bare_linear(layer)
    layer.register_forward_hook(lambda module, args, out: 2 * out)
    assert not is_bare_linear(layer)

    class Scaled(nn.Linear):
        """Computes more than a linear layer."""

    assert not is_bare_linear(Scaled(4, 3))
