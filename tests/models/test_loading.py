"""Loading: from files, from a model in memory, from a bridge; one set of weights in every case."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import logits, ragged, tiny_hf
from transformers import AutoTokenizer

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loadable import skeleton
from selfrep.models.loading import load_model
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
    assert lm.name == folder.name, "results do not tell where it lies"
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


def test_plain_passes_run_with_the_attention_that_is_named(folder: Path) -> None:
    ids = ragged([9], seed=0)[0].tolist()
    wanted = logits(load_model(folder, device="cpu").hf, ids)
    for attn in ("eager", "sdpa"):
        hf = load_model(folder, device="cpu", attn=attn).hf
        assert hf.config._attn_implementation == attn
        assert torch.allclose(logits(hf, ids), wanted, atol=1e-5)
    for wrong, model in (("no_such", folder), ("eager", "organism:separate")):
        with pytest.raises(SelfrepError, match=f"attention '{wrong}'"):
            load_model(model, device="cpu", attn=wrong)


def test_what_the_template_is_told_belongs_to_the_model(folder: Path) -> None:
    template = "{{ date_string + strftime_now('%Y') }}" + CHATML
    then = {"clock": datetime(1999, 1, 1), "device": "cpu"}
    lm = load_model(folder, chat_template=template, template_vars={"date_string": "today"}, **then)
    pieces = "".join(text for _, text in spans(Prompt("You are a nurse.", ("Who are you?",)), lm.chat))
    assert pieces.startswith("today1999<|im_start|>")
    with pytest.raises(SelfrepError, match="does not read 'date'"):
        load_model(folder, template_vars={"date": "today"}, **then)


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


CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.mark.usefixtures("own_home")
def test_code_in_a_folder_is_not_run_and_nobody_is_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)
    config = json.loads((own / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnForCausalLM"]}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (own / "config.json").write_text(json.dumps(config))
    (own / "own.py").write_text(CODE)
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("the terminal was asked"))
    with pytest.raises(SelfrepError, match=r"brings code of its own.*give both to sr\.load_model"):
        load_model(own)
    assert skeleton(str(own)) is None
    assert not list(tmp_path.rglob("ran"))


# Files that somebody changed.


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that loads, with a module beside it that would leave a trace if it ran."""
    path = tmp_path_factory.mktemp("hostile") / "honest"
    tokenizer = make_tokenizer(CHATML)
    tiny_hf("llama", vocabulary=len(tokenizer)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    (path / "evil.py").write_text(f"open({str(path / 'ran')!r}, 'w')")
    assert load_model(path, device="cpu").n_layers == 3
    return path


_CHANGES: dict[str, tuple[str, dict[str, object]]] = {
    "a text for a number": ("config.json", {"hidden_size": "32"}),
    "another width": ("config.json", {"hidden_size": 10**9}),
    "another vocabulary": ("config.json", {"vocab_size": 10**10}),
    "another depth": ("config.json", {"num_hidden_layers": 4}),
    "no heads": ("config.json", {"num_attention_heads": 0}),
    "no such family": ("config.json", {"model_type": "evil", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}),
    "a list of families": ("config.json", {"model_type": ["llama"]}),
    "quantised by a word": ("config.json", {"quantization_config": "evil"}),
    "a dtype that is none": ("config.json", {"dtype": "os.system"}),
    "a padding token outside": ("config.json", {"pad_token_id": 10**9}),
    "a list of ends": ("tokenizer_config.json", {"eos_token": ["a"]}),
    "a length in words": ("tokenizer_config.json", {"model_max_length": "long"}),
    "tokens of texts": ("tokenizer_config.json", {"added_tokens_decoder": {"x": "y"}}),
    "a post-processor of nothing": ("tokenizer.json", {"post_processor": {"type": "Evil"}}),
    "a model of tokens of nothing": ("tokenizer.json", {"model": {"type": "BPE", "vocab": {"a": -5}, "merges": []}}),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", _CHANGES)
def test_a_folder_that_was_changed_is_one_error_and_runs_nothing(what: str, honest: Path, tmp_path: Path) -> None:
    path = shutil.copytree(honest, tmp_path / "model")
    name, change = _CHANGES[what]
    (path / name).write_text(json.dumps(json.loads((path / name).read_text()) | change))
    with pytest.raises(SelfrepError):
        load_model(path, device="cpu")
    assert not (honest / "ran").exists()


def test_weights_that_are_missing_are_no_random_numbers(honest: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = shutil.copytree(honest, tmp_path / "model")
    weights = load_file(path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    with pytest.raises(SelfrepError, match=r"lacks 1 of the weights .*layers\.1\.mlp\.up_proj"):
        load_model(path, device="cpu")
