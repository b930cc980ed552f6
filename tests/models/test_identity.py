"""Whatever a model's numbers depend on is a part of its identity; what they do not depend on is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tokenizers import normalizers
from transformers import LlamaConfig, LlamaForCausalLM

from selfrep.models.identity import identity_of
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model


@pytest.fixture
def lm() -> LanguageModel:
    return load_model("organism:separate", device="cpu")


def _weights(lm: LanguageModel) -> None:
    with torch.no_grad():
        lm.hf.get_input_embeddings().weight[0, 0] += 1


def _configuration(lm: LanguageModel) -> None:
    lm.hf.config.rms_norm_eps = 0.5


def _generation(lm: LanguageModel) -> None:
    assert lm.hf.generation_config is not None
    lm.hf.generation_config.repetition_penalty = 1.3


def _added_token(lm: LanguageModel) -> None:
    lm.tokenizer.add_tokens(["novel"])


def _normalizer(lm: LanguageModel) -> None:
    lm.tokenizer.backend_tokenizer.normalizer = normalizers.Strip()


def _special_token(lm: LanguageModel) -> None:
    lm.tokenizer.eos_token = "<end>"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_weights, "weights_hash"),
        (_configuration, "configuration"),
        (_generation, "generation"),
        (_added_token, "tokenizer_hash"),
        (_normalizer, "tokenizer_hash"),
        (_special_token, "tokenizer_hash"),
    ],
)
def test_a_change_shows_in_its_part_and_in_the_whole(
    lm: LanguageModel, change: Callable[[LanguageModel], None], part: str
) -> None:
    before = identity_of(lm)
    change(lm)
    after = identity_of(lm)
    assert {name for name in before if before[name] != after[name]} == {part, "model_hash"}


def test_a_type_and_an_attention_are_parts() -> None:
    assert identity_of(load_model("organism:separate", device="cpu", dtype="bfloat16"))["dtype"] == "bfloat16"
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    hf = LlamaForCausalLM(LlamaConfig(vocab_size=9, **sizes))
    sdpa = identity_of(load_model(hf, attn="sdpa"))
    eager = identity_of(load_model(hf, attn="eager"))
    assert {name: (sdpa[name], eager[name]) for name in sdpa if sdpa[name] != eager[name] and name != "model_hash"} == {
        "attention": ("sdpa", "eager")
    }


def test_what_moves_no_number_is_no_part(lm: LanguageModel) -> None:
    before = identity_of(lm)
    lm.hf.config._name_or_path = "/home/somebody/model"
    lm.hf.config.use_cache = False
    lm.tokenizer("are you ?", padding="max_length", max_length=9, truncation=True)
    assert identity_of(lm) == before
    assert identity_of(load_model("organism:separate", device="cpu")) == before
    assert identity_of(replace(lm, tokenizer=None))["tokenizer_hash"] is None
