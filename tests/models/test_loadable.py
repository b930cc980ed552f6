"""What cannot be loaded as it is asked for is told before weights are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import tiny_hf

from selfrep.errors import SelfrepError
from selfrep.models.loadable import attend, skeleton, unloadable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path, tokenizer = tmp_path_factory.mktemp("model") / "toy", make_tokenizer(CHATML)
    tiny_hf(vocabulary=len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    for weights in path.glob("*.safetensors"):
        weights.unlink()
    return str(path)


def test_what_can_be_had_is_let_through_without_weights(folder: str) -> None:
    for fits in ({}, {"attn": "eager"}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}, {"device": "cpu"}):
        assert unloadable(folder, **fits) == {}
    hf = skeleton(folder)
    assert hf is not None
    assert {weight.device.type for weight in hf.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"attn": "spda"}, r"no attention 'spda' \(did you mean 'sdpa'\?\)"),
        ({"attn": "flash_attention_3"}, "'flash_attention_3' cannot be had with LlamaForCausalLM.*installed"),
        ({"device": "tpu"}, "cuda:N or mps; got 'tpu'"),
        ({"device_map": "ballanced"}, "got 'ballanced' .did you mean 'balanced'"),
        ({"device_map": {"model.embed_tokens": "cpu"}}, "says of each part of a model where it goes.*lm_head"),
        ({"device_map": {"": "tpu"}}, "got 'tpu'"),
        ({"device_map": "tpu:0"}, "got 'tpu:0'"),
        ({"device_map": "auto", "device": "cpu"}, "not both"),
    ],
)
def test_what_cannot_be_had_is_named_with_the_fix(asked: dict[str, str], words: str, folder: str) -> None:
    ((option, why),) = unloadable(folder, **asked).items()
    assert option in asked
    with pytest.raises(SelfrepError, match=words):
        raise SelfrepError(why)


def test_all_that_is_wrong_is_told(folder: str) -> None:
    assert set(unloadable(folder, device="tpu", device_map="auto", attn="spda")) == {"device", "device_map", "attn"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_told(folder: str) -> None:
    for wrong in ({"device": "cuda"}, {"device_map": "cuda:0"}, {"device_map": {"": 0}}):
        (why,) = unloadable(folder, **wrong).values()
        assert "does not exist" in why


def test_a_planted_model_goes_nowhere_by_a_map_and_has_its_own_attention() -> None:
    assert "not both" not in unloadable("organism:separate", device_map="auto")["device_map"]
    assert "attention of its own" in unloadable("organism:separate", attn="flash_attention_2")["attn"]
    assert unloadable("organism:separate", attn="sdpa") == {}


def test_of_a_model_that_is_not_there_names_are_told_alone(tmp_path: Path) -> None:
    assert skeleton(str(tmp_path / "none")) is None
    assert unloadable(str(tmp_path / "none"), attn="eager") == {}
    assert set(unloadable(str(tmp_path / "none"), attn="spda")) == {"attn"}


def test_an_attention_is_what_plain_passes_run_with() -> None:
    hf = tiny_hf()
    attend(hf, "eager")
    assert hf.config._attn_implementation == "eager"
    with pytest.raises(SelfrepError, match="There is no attention"):
        attend(hf, "none of these")
    assert hf.config._attn_implementation == "eager"
