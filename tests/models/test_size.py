"""How large a model is, by its configuration alone, against the matrices that transformers makes of it."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from selfrep.models.size import size_of

ORDINARY = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "phi3", "gpt2", "gpt_neox", "phi", "smollm3")
MIXTURES = ("mixtral", "qwen3_moe", "olmoe")


@pytest.mark.parametrize("kind", [*ORDINARY, *MIXTURES])
def test_the_parameters_are_those_of_the_model(kind: str) -> None:
    config = AutoConfig.for_model(kind, num_hidden_layers=2)
    with torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(config)
    size = size_of(config.to_dict())
    assert size is not None
    assert size.parameters == pytest.approx(hf.num_parameters(), rel=0.02)
    assert size.d_model == config.hidden_size
    table = size.d_model * config.vocab_size
    if kind in MIXTURES:
        assert size.active < size.parameters / 2
    else:
        assert size.active == size.parameters - (0 if config.tie_word_embeddings else table)


def test_what_a_configuration_does_not_tell_is_not_guessed() -> None:
    assert size_of({}) is None
    assert size_of({"hidden_size": 8, "num_hidden_layers": 2}) is None
    inside = {"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 10}
    assert size_of({"text_config": inside, "vision_config": {"hidden_size": 99}}) == size_of(inside)
