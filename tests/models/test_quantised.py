"""Quantised models: the numbers of plain passes of the quantised model, or a sentence that says why not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import patched_differences, ragged, tiny_hf
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from selfrep.engine.attribution import attribute_tokens
from selfrep.engine.capture import score
from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid, prefix_patch
from selfrep.errors import CannotReplay, SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.quantised import plain_parts, rounding_inputs
from selfrep.models.state import state_of, weights_digest
from selfrep.prompts.prompt import Prompt

SOURCE, TARGET, METRIC = ragged([12, 9], seed=1), ragged([12, 10], seed=2), logit_difference(7, 9)
PLAN = grid("attn_out", positions=(-6, -1))
TOKENIZER = make_tokenizer(CHATML)
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "vocabulary": len(TOKENIZER)}
ASKED = [
    Prompt(system, ("Who are you?",), "I am a", answers=((" robot",), (" nurse",)))
    for system in ("You are a nurse.", "You are a robot. I was born.")
]

pytestmark = pytest.mark.filterwarnings("ignore:.*(quantization|deprecat|inductor|Enum)", "ignore::FutureWarning")


def bitsandbytes(folder: Path, **how: Any) -> Any:
    """A model read from files by bitsandbytes."""
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)  # a line for each layer and pass
    tiny_hf(**WIDE).save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=BitsAndBytesConfig(**how))


def torchao(config: str) -> Any:
    """A model that torchao quantises in memory."""
    library = pytest.importorskip("torchao.quantization", reason="needs torchao")
    hf = tiny_hf(**WIDE)
    library.quantize_(hf, getattr(library, config)())
    return hf


def torchs_own(_: Path) -> Any:
    """A model with the dynamic quantisation of torch itself."""
    return torch.ao.quantization.quantize_dynamic(tiny_hf(**WIDE), {nn.Linear}, dtype=torch.qint8)


Maker = Callable[[Path], Any]
WEIGHTS_ALONE: dict[str, Maker] = {
    "bitsandbytes, 4 bit": lambda folder: bitsandbytes(folder, load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "bitsandbytes, 4 bit twice": lambda folder: bitsandbytes(folder, load_in_4bit=True, bnb_4bit_use_double_quant=True),
    "torchao, int8": lambda _: torchao("Int8WeightOnlyConfig"),
    "torchao, intx": lambda _: torchao("IntxWeightOnlyConfig"),
}
INPUTS_TOO: dict[str, Maker] = {
    "bitsandbytes, 8 bit": lambda folder: bitsandbytes(folder, load_in_8bit=True),
    "torchao, int8 dynamic": lambda _: torchao("Int8DynamicActivationInt8WeightConfig"),
    "torchao, intx dynamic": lambda _: torchao("Int8DynamicActivationIntxWeightConfig"),
    "torch, dynamic": torchs_own,
}


def loaded(make: Maker, folder: Path) -> LanguageModel:
    return load_model(make(folder), tokenizer=TOKENIZER)


def is_its_own(lm: LanguageModel, patched: np.ndarray) -> None:
    """Patched runs are those of plain hooks on the quantised model, and not those of the model before."""
    wanted, before = (
        patched_differences(hf, "llama", "attn_out", SOURCE, TARGET, (-6, -1)) for hf in (lm.hf, tiny_hf(**WIDE))
    )
    np.testing.assert_allclose(patched, wanted, atol=1e-4)
    assert np.abs(wanted - before).max() > 1e-2, "the control: it is quantised"


@pytest.mark.parametrize("make", WEIGHTS_ALONE.values(), ids=WEIGHTS_ALONE)
def test_where_weights_alone_are_rounded_the_model_is_replayed(make: Maker, tmp_path: Path) -> None:
    lm = loaded(make, tmp_path)
    digest = lm.weights_hash
    effects = patch_tokens(lm, SOURCE, TARGET, PLAN, METRIC)
    assert effects.attrs["engine"] == "replay"
    is_its_own(lm, effects.patched.values)
    alone = [score(lm, [prompt]).log_odds.item() for prompt in ASKED]
    np.testing.assert_allclose(score(lm, ASKED).log_odds, alone, atol=1e-4)
    assert lm.weights_hash == digest != load_model(tiny_hf(**WIDE)).weights_hash, "reading it changes nothing"


@pytest.mark.parametrize("make", INPUTS_TOO.values(), ids=INPUTS_TOO)
def test_where_inputs_are_rounded_too_each_prompt_is_run_whole_and_alone(make: Maker, tmp_path: Path) -> None:
    lm = loaded(make, tmp_path)
    with pytest.warns(UserWarning, match=r"has Linear\w* in \S+ \(quantised, its inputs too\).*slow"):
        effects = patch_tokens(lm, SOURCE, TARGET, PLAN, METRIC)
    assert effects.attrs["engine"] == "reference"
    is_its_own(lm, effects.patched.values)
    with pytest.warns(UserWarning, match="run on its own"):
        together, *alone = (score(lm, asked).log_odds.values for asked in (ASKED, ASKED[:1], ASKED[1:]))
    np.testing.assert_array_equal(together, np.concatenate(alone))
    with pytest.warns(UserWarning, match="slow"), pytest.raises(SelfrepError, match="its inputs too"):
        patch_tokens(lm, SOURCE[:, -8:], TARGET[:, -8:], prefix_patch(), METRIC, suffix=3)


def test_gradients_are_those_of_the_numbers_that_the_weights_stand_for() -> None:
    hf, plain = torchao("Int8WeightOnlyConfig"), tiny_hf(**WIDE)
    for name, module in hf.named_modules():
        if isinstance(module, nn.Linear):
            plain.get_submodule(name).weight.data.copy_(module.weight.dequantize())
    found, wanted, before = (
        attribute_tokens(load_model(model), SOURCE, TARGET, PLAN, METRIC).patched.values
        for model in (hf, plain, tiny_hf(**WIDE))
    )
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert np.abs(before - wanted).max() > 1e-2, "the control: it is quantised"


@pytest.mark.parametrize("name", ["bitsandbytes, 4 bit", "torchao, int8 dynamic", "torch, dynamic"])
@pytest.mark.filterwarnings("ignore:.*slow")
def test_where_a_layer_has_no_gradient_of_its_own_there_is_none(name: str, tmp_path: Path) -> None:
    lm = loaded((WEIGHTS_ALONE | INPUTS_TOO)[name], tmp_path)
    with pytest.raises(SelfrepError, match=r"that of the Linear\w* of .*quantised, is none, or not its own"):
        attribute_tokens(lm, SOURCE, TARGET, PLAN, METRIC)


# Without any library.


class Halves(torch.Tensor):
    """A tensor that is kept in two parts, as quantised ones are."""

    @staticmethod
    def __new__(cls, low: torch.Tensor, high: torch.Tensor) -> Halves:
        return torch.Tensor._make_wrapper_subclass(cls, low.shape, dtype=torch.float32)

    def __init__(self, low: torch.Tensor, high: torch.Tensor) -> None:
        self.low, self.high = low, high

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["low", "high"], None

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise NotImplementedError(f"{func} of numbers in two parts")


class Linear8bitLt(nn.Linear):
    """Named as the layer of bitsandbytes."""


def test_layers_that_round_their_inputs_are_known_by_name_or_by_their_weights() -> None:
    hf = tiny_hf()
    lm = load_model(hf)
    lm.require_replay()
    own = hf.model.layers[1].mlp
    own.up_proj.__class__ = Linear8bitLt
    assert rounding_inputs(hf) == ["Linear8bitLt in model.layers.1.mlp.up_proj (quantised, its inputs too)"]
    with pytest.raises(CannotReplay, match=r"has Linear8bitLt in model\.layers\.1"):
        lm.require_replay()
    own.up_proj.__class__ = nn.Linear
    weight = Halves(torch.zeros(48, 32), torch.zeros(48, 32))
    own.gate_proj._parameters["weight"] = weight
    assert rounding_inputs(hf) == []
    weight.act_quant_kwargs = "each row by its largest"
    assert rounding_inputs(hf) == ["Linear in model.layers.1.mlp.gate_proj (quantised, its inputs too)"]


def test_quantised_weights_are_read_by_their_parts() -> None:
    low, high = torch.zeros(2, 3, dtype=torch.uint8), torch.ones(2, 3)
    layer = nn.Module()
    layer.register_buffer("weight", Halves(low, high))
    before, digest = state_of(layer), weights_digest(layer)
    assert [part.dtype for part in plain_parts(layer.weight)] == [torch.uint8, torch.float32]
    low += 1
    assert state_of(layer).weights != before.weights
    assert weights_digest(layer) != digest
