"""One function takes every kind of name, and an unknown name is answered with what would have been known."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest

from selfrep.errors import SelfrepError
from selfrep.models import gguf
from selfrep.models.resolve import CachedModel, cached_models, resolve, weights_hash


@pytest.fixture(autouse=True)
def _no_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_default_is_the_embedded_model() -> None:
    assert resolve() == resolve("embedded") == gguf.embedded()


def test_a_file_and_the_folder_made_of_it_are_one_model(own_cache: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    folder = resolve(tiny_gguf)
    assert resolve(str(tiny_gguf)) == resolve(folder) == folder
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert resolve(str(copy)) == copy
    assert weights_hash(copy) == weights_hash(folder)


def test_a_home_folder_is_understood(own_cache: Path, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve(tiny_gguf)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert resolve(f"~/{folder.name}") == folder


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("embeded", "did you mean 'embedded'"),
        ("org/no-such-model", "HF_HUB_OFFLINE"),
        ("gpt2", "HF_HUB_OFFLINE"),
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("a model", "no such characters"),
        ("", "it is empty"),
        (Path("nowhere"), "no such folder"),
    ],
)
@pytest.mark.usefixtures("own_cache")
def test_an_unknown_name_is_answered_with_what_is_accepted(name: str | Path, reason: str) -> None:
    with pytest.raises(SelfrepError, match=f"{reason}.*Accepted are"):
        resolve(name)


def test_close_names_come_from_what_is_cached(own_cache: Path, tiny_gguf: Path) -> None:
    with pytest.raises(SelfrepError) as error:
        resolve("tinny")
    assert "did you mean" not in str(error.value)
    resolve(tiny_gguf)
    with pytest.raises(SelfrepError, match="did you mean 'tiny'"):
        resolve("tinny")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(SelfrepError, match=r"neither a folder nor a \.gguf file"):
        resolve(str(tmp_path / "model.onnx"))


def test_what_is_cached_is_listed_while_it_is_whole(own_cache: Path, tiny_gguf: Path) -> None:
    assert cached_models() == []
    folder = resolve(tiny_gguf)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert cached_models() == [CachedModel("tiny", folder, size, weights_hash(folder))]
    (folder / "model.safetensors").unlink()
    assert cached_models() == []


@pytest.mark.usefixtures("own_cache")
def test_a_list_of_models_reads_no_weights(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256((resolve(tiny_gguf) / "model.safetensors").read_bytes()).hexdigest()
    snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / ("0" * 40)
    for folder in (snapshot, snapshot.parents[1] / "refs", snapshot.parents[1] / "blobs"):
        folder.mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    for name, blob in (("config.json", "0" * 40), ("model.safetensors", "ab" * 32)):
        (snapshot.parents[1] / "blobs" / blob).write_text("{}")
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    monkeypatch.setattr("selfrep.models.cache.read_sha256", None)
    assert {model.name: model.weights_hash for model in cached_models()} == {"tiny": digest, "org/tiny": "ab" * 32}
