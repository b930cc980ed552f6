"""Loading: from files, from a model in memory, from a bridge; one set of weights in every case."""

from __future__ import annotations

import copy
import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import FAMILIES, logits, ragged, tiny, tiny_hf
from transformers import AutoTokenizer

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel, load_model
from selfrep.prompts.chat import spans
from selfrep.prompts.prompt import Prompt

IDS = ragged([9, 9], seed=1)


def all_logits(lm: LanguageModel) -> torch.Tensor:
    return torch.stack([logits(lm.hf, row) for row in IDS])


# A model in memory.


def test_a_model_in_memory_is_taken_as_it_is() -> None:
    hf = tiny_hf()
    before = {name: tensor.clone() for name, tensor in hf.state_dict().items()}
    lm = load_model(hf)
    assert lm.hf is hf
    assert not hf.training
    assert (lm.n_layers, lm.d_model, lm.dtype, lm.device.type) == (3, 32, torch.float32, "cpu")
    lm.bridge.run_with_cache(IDS)
    patch_tokens(lm, IDS, IDS.flip(1), grid("attn_out"), logit_difference(1, 2))
    assert all(torch.equal(tensor, before[name]) for name, tensor in hf.state_dict().items())
    assert set(dict(hf.named_modules())) == set(dict(tiny_hf().named_modules()))


def test_training_mode_is_left() -> None:
    lm = load_model(tiny_hf("gpt2").train())  # with dropout
    assert torch.equal(all_logits(lm), all_logits(lm))


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


# Files.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "toy"
    tokenizer = make_tokenizer(CHATML)
    tiny_hf(vocabulary=len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_home")
def test_a_folder_holds_model_and_tokenizer(folder: Path) -> None:
    lm = load_model(folder, device="cpu")
    assert torch.equal(all_logits(lm), all_logits(load_model(tiny_hf(vocabulary=len(lm.tokenizer)))))
    assert lm.name == str(folder)
    assert lm.tokenizer.chat_template == CHATML
    assert (
        lm.tokenizer("Who are you?")["input_ids"] == AutoTokenizer.from_pretrained(folder)("Who are you?")["input_ids"]
    )
    assert load_model(str(folder), dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.usefixtures("own_home")
def test_half_precision_is_refused_or_right(folder: Path) -> None:
    lm = load_model(folder, dtype="bfloat16")
    effects = patch_tokens(lm, IDS, IDS.flip(1), grid("resid_pre"), logit_difference(1, 2))
    single = patch_tokens(load_model(folder), IDS, IDS.flip(1), grid("resid_pre"), logit_difference(1, 2))
    assert effects.attrs["dtype"] == "bfloat16"
    assert 0 < np.abs(effects.patched - single.patched).max() < 0.3


@pytest.mark.usefixtures("own_home")
def test_a_folder_that_cannot_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "config.json").write_text('{"model_type": "no such thing"}')
    with pytest.raises(SelfrepError, match="broken"):
        load_model(broken)


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


# What is refused.


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "", "meta", "xpu"])
def test_unknown_devices_are_refused(device: str) -> None:
    with pytest.raises(SelfrepError, match=f"auto, cpu, cuda, cuda:N or mps; got '{device}'"):
        load_model(tiny_hf(), device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_cuda_without_cuda_is_refused(device: str) -> None:
    with pytest.raises(SelfrepError, match=f"'{device}' does not exist.*--device cpu"):
        load_model(tiny_hf(), device=device)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="needs a machine without MPS")
def test_mps_without_mps_is_refused() -> None:
    with pytest.raises(SelfrepError, match="'mps' does not exist"):
        load_model(tiny_hf(), device="mps")


@pytest.mark.parametrize("dtype", ["float64", "fp16", ""])
def test_unknown_types_are_refused(dtype: str, folder: Path) -> None:
    for model in (tiny_hf(), folder):
        with pytest.raises(SelfrepError, match=f"float32, bfloat16, float16; got '{dtype}'"):
            load_model(model, dtype=dtype)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(SelfrepError, match="a PeftModel or a TransformerBridge; got Linear"):
        load_model(torch.nn.Linear(2, 2))


def test_nan_logits_are_refused_before_any_sweep() -> None:
    hf = copy.deepcopy(tiny_hf())
    with torch.no_grad():
        hf.model.layers[1].mlp.up_proj.weight[3, 3] = torch.nan
    with pytest.raises(SelfrepError, match="finite numbers; LlamaForCausalLM gives NaN"):
        patch_tokens(load_model(hf), IDS, IDS, grid("resid_pre"), logit_difference(1, 2))


def test_plain_passes_run_with_the_attention_that_is_named(folder: Path) -> None:
    ids = ragged([9], seed=0)[0].tolist()
    wanted = logits(load_model(folder, device="cpu").hf, ids)
    for attn in ("eager", "sdpa"):
        hf = load_model(folder, device="cpu", attn=attn).hf
        assert hf.config._attn_implementation == attn
        assert torch.allclose(logits(hf, ids), wanted, atol=1e-5)
    for wrong, model in (("no_such", folder), ("eager", "organism:separate")):
        with pytest.raises(SelfrepError, match=f"attention '{wrong}' cannot be had"):
            load_model(model, device="cpu", attn=wrong)


def test_what_the_template_is_told_belongs_to_the_model(folder: Path) -> None:
    template = "{{ date_string + strftime_now('%Y') }}" + CHATML
    then = {"clock": datetime(1999, 1, 1), "device": "cpu"}
    lm = load_model(folder, chat_template=template, template_vars={"date_string": "today"}, **then)
    pieces = "".join(text for _, text in spans(Prompt("You are a nurse.", ("Who are you?",)), lm.chat))
    assert pieces.startswith("today1999<|im_start|>")
    with pytest.raises(SelfrepError, match="does not read 'date'"):
        load_model(folder, template_vars={"date": "today"}, **then)


def test_a_model_without_a_template_says_so(folder: Path) -> None:
    lm = load_model(folder, device="cpu")
    assert "no chat template" not in repr(lm)
    lm.tokenizer.chat_template = None
    assert "chat='plain dialogue (no chat template)'" in repr(lm)
    assert "no chat template" in lm._repr_html_()
    assert "chat=" not in repr(tiny("llama")), "without a tokenizer there is no chat at all"
