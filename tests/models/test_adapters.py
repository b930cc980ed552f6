"""Adapters of peft, in memory and in folders. What is right is what the model is with the adapter merged into it."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.prompts.conftest import CHATML, make_tokenizer
from tests.tiny import ragged, tiny_hf

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models import adapters, folders
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.outline import outline

IDS = ragged([9, 9], seed=1)


def patched(lm: LanguageModel, site: str = "attn_out") -> np.ndarray:
    return patch_tokens(lm, IDS[:1], IDS[1:], grid(site, positions=[-2, -1]), logit_difference(5, 6)).patched.values


def adapted(family: str = "llama", vocabulary: int = 64, **how: Any) -> Any:
    peft = pytest.importorskip("peft", reason="needs peft")
    torch.manual_seed(0)
    options = {"r": 2, "task_type": "CAUSAL_LM", "init_lora_weights": False, "lora_dropout": 0.5}
    config = peft.LoraConfig(**options | how)
    return peft.get_peft_model(tiny_hf(family, vocabulary=vocabulary), config)


LAYERS: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"target_modules": ["q_proj", "down_proj"]}, "q"),
    ("llama", {"target_modules": ["q_proj", "lm_head"]}, "attn_out"),  # an unembedding that is more than its weight
    ("llama", {"target_modules": ["embed_tokens"]}, "resid_pre"),
    ("gpt2", {"target_modules": ["c_attn", "c_proj"]}, "k"),  # inside a joint projection that is kept as [in, out]
    ("llama", {"target_modules": ["o_proj"], "use_dora": True}, "attn_out"),  # the norms of the weights, too
    ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["norm", "lm_head"]}, "resid_pre"),  # whole modules
    (
        "gpt_oss",
        {"target_modules": [], "target_parameters": ["mlp.experts.gate_up_proj"], "lora_dropout": 0.0},
        "attn_out",
    ),  # experts, whose weight is taken away and put back at each pass
]


@pytest.mark.parametrize(("family", "how", "site"), LAYERS)
@pytest.mark.filterwarnings("ignore")  # of peft
def test_an_adapter_is_run_as_if_it_were_merged(family: str, how: dict[str, Any], site: str) -> None:
    model = adapted(family, **how)
    lm = load_model(model)
    merged = load_model(copy.deepcopy(model).merge_and_unload())
    np.testing.assert_allclose(patched(lm, site), patched(merged, site), atol=1e-4)
    plain = patched(load_model(tiny_hf(family)), site)
    assert np.abs(patched(lm, site) - plain).max() > 1e-2, "the control: it matters"


@pytest.mark.filterwarnings("ignore")
def test_what_is_known_of_a_model_is_known_of_its_active_adapters() -> None:
    model = adapted(target_modules=["q_proj"])
    lm = load_model(model)
    on, digest = patched(lm), lm.weights_hash
    with model.disable_adapter():
        np.testing.assert_allclose(patched(lm), patched(load_model(tiny_hf())), atol=1e-5)
        assert lm.weights_hash != digest
    np.testing.assert_array_equal(patched(lm), on)
    assert lm.weights_hash == digest
    model.base_model.model.model.layers[1].self_attn.q_proj.scaling["default"] *= 3
    assert np.abs(patched(lm) - on).max() > 1e-3
    assert lm.weights_hash != digest


@pytest.mark.filterwarnings("ignore")
def test_virtual_tokens_are_refused() -> None:
    peft = pytest.importorskip("peft", reason="needs peft")
    model = peft.get_peft_model(tiny_hf(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(SelfrepError, match="PROMPT_TUNING puts virtual tokens before each prompt"):
        load_model(model)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path / "cache"))
    tokenizer = make_tokenizer(CHATML)
    tiny_hf(vocabulary=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


def adapter_folder(base: Path) -> tuple[Any, Path]:
    """An adapter in memory, and in a folder of its own."""
    model, folder = adapted(vocabulary=len(make_tokenizer(CHATML)), target_modules=["q_proj", "lm_head"]), base.parent
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(folder / "adapter")
    return model, folder / "adapter"


@pytest.mark.filterwarnings("ignore")
def test_a_folder_with_an_adapter_is_read_with_its_model(base: Path) -> None:
    model, folder = adapter_folder(base)
    wanted = patched(load_model(model))
    lm = load_model(folder)
    np.testing.assert_array_equal(patched(lm), wanted)
    assert lm.weights_hash == load_model(model).weights_hash
    assert lm.tokenizer.chat_template == CHATML
    assert outline(str(folder)).n_layers == 3  # type: ignore[union-attr]
    assert np.abs(patched(load_model(base)) - wanted).max() > 1e-2, "the control: the adapter matters"
    for file in folder.iterdir():
        shutil.copy(file, base)
    np.testing.assert_array_equal(patched(load_model(base)), wanted)  # both in one folder


def written(folder: Path, **fields: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / folders.ADAPTER).write_text(json.dumps(fields))
    save_file({"weight": torch.zeros(1)}, folder / "adapter_model.safetensors")
    return folder


def test_without_peft_nothing_is_read_without_its_adapter(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_model(base)
    alone = written(base.parent / "adapter", base_model_name_or_path=str(base))
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    for folder in (alone, written(base)):
        with pytest.raises(SelfrepError, match=r"holds an adapter.*pip install 'selfrep"):
            load_model(folder)


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        (
            {"base_model_name_or_path": "nowhere/to-be-found"},
            "belongs to 'nowhere/to-be-found', which cannot be loaded",
        ),
        ({}, "names the model it belongs to.*has no base_model_name_or_path"),
    ],
)
def test_an_adapter_without_its_model_says_what_to_do(
    fields: dict[str, Any], refusal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "find_spec", lambda name: name)
    with pytest.raises(SelfrepError, match=f"{refusal}.*pass the PeftModel to sr.load_model"):
        load_model(written(tmp_path / "adapter", **fields))


def test_what_is_no_model_of_peft_is_none() -> None:
    assert not adapters.is_peft(tiny_hf())
