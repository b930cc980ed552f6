"""A model small enough to write by hand, as a GGUF file and as a folder."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

LAYERS, WIDTH, HEADS, INNER = 2, 16, 2, 24
TOKENS = ["<unk>", "<s>", "</s>", *"abcdefgh", "ab", "cd"]


@pytest.fixture(scope="session")
def tiny_tensors() -> dict[str, np.ndarray]:
    """The weights of a two-layer llama, by their GGUF names."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    tensors = {
        "token_embd.weight": normal(len(TOKENS), WIDTH),
        "output_norm.weight": normal(WIDTH),
        "output.weight": normal(len(TOKENS), WIDTH),
    }
    for layer in range(LAYERS):
        shapes = {"attn_norm": (WIDTH,), "ffn_norm": (WIDTH,), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)}
        shapes |= {"ffn_down": (WIDTH, INNER)} | {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        tensors |= {f"blk.{layer}.{name}.weight": normal(*shape) for name, shape in shapes.items()}
    return tensors


@pytest.fixture(scope="session")
def tiny_gguf(tiny_tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3, 3] + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    for name, tensor in tiny_tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder for one test."""
    monkeypatch.setenv("SELFREP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
