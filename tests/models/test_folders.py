"""A model folder that is incomplete or damaged is refused before anything loads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from selfrep.errors import SelfrepError
from selfrep.models import cache, folders


@pytest.fixture
def folder(own_cache: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    save_file({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2), np.float16)}, path / "model.safetensors")
    return path


def shard(folder: Path, names: list[str]) -> None:
    (folder / "model.safetensors").rename(folder / names[0])
    for name in names[1:]:
        save_file({name: np.zeros(1, np.float32)}, folder / name)
    index = {"weight_map": {f"tensor{number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_whole_folder_is_accepted(folder: Path) -> None:
    assert folders.check(folder) == folder
    shard(folder, ["one.safetensors", "two.safetensors"])
    assert folders.check(folder) == folder


def test_what_is_missing_is_named(folder: Path) -> None:
    shard(folder, ["one.safetensors", "two.safetensors"])
    (folder / "two.safetensors").unlink()
    with pytest.raises(SelfrepError, match=r"lacks two\.safetensors"):
        folders.check(folder)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "one.safetensors").unlink()
    with pytest.raises(SelfrepError, match="must hold weights"):
        folders.check(folder)
    with pytest.raises(SelfrepError, match="must hold weights"):
        folders.weights_hash(folder)
    (folder / "config.json").unlink()
    with pytest.raises(SelfrepError, match=r"must hold a config\.json"):
        folders.check(folder)


@pytest.mark.parametrize("kept", [-1, 20, 8, 3, 0])
def test_truncated_weights_are_refused(folder: Path, kept: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(SelfrepError, match="truncated"):
        folders.check(folder)


def test_weights_that_are_something_else_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_text("<html>404 Not Found</html>")
    with pytest.raises(SelfrepError, match=r"must be a safetensors file.*damaged"):
        folders.check(folder)


def test_an_unreadable_index_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safe')
    with pytest.raises(SelfrepError, match="index of weight files"):
        folders.check(folder)


@pytest.mark.parametrize("shard", ["../../x.safetensors", "/etc/passwd", "..", "", 3, ["x"], None])
def test_an_index_names_files_beside_it(folder: Path, shard: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(SelfrepError, match="index of weight files"):
        folders.check(folder)


def test_weights_whose_names_a_terminal_would_obey_are_refused(folder: Path) -> None:
    save_file({"a\x1b[2J": np.zeros(2, np.float32)}, folder / "model.safetensors")
    with pytest.raises(SelfrepError, match=r"a weight is called 'a\\x1b\[2J'"):
        folders.check(folder)


def test_a_copy_that_differs_from_its_record_is_refused(folder: Path) -> None:
    weights = cache.read_sha256(folder / "model.safetensors")
    record = {"name": "x", "source_sha256": "", "weights_sha256": weights, "versions": {}}
    cache.write_json(folder / cache.RECORD, {**record, "files": {"model.safetensors": weights}})
    assert folders.check(folder) == folder
    save_file({"a": np.arange(6, dtype=np.float32), "b": np.zeros((2, 2), np.float16)}, folder / "model.safetensors")
    with pytest.raises(SelfrepError, match=r"sha256.*model\.safetensors"):
        folders.check(folder)


def test_the_hash_of_one_file_is_that_of_sha256sum(folder: Path) -> None:
    assert folders.weights_hash(folder) == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_hash_of_shards_depends_on_every_one_and_on_nothing_else(folder: Path) -> None:
    shard(folder, ["one.safetensors", "two.safetensors"])
    first = folders.weights_hash(folder)
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("one.safetensors", "two.safetensors")
    ]
    assert first == hashlib.sha256("".join(lines).encode()).hexdigest()
    (folder / "config.json").write_text('{"changed": true}')
    assert folders.weights_hash(folder) == first
    save_file({"two": np.ones(1, np.float32)}, folder / "two.safetensors")
    assert folders.weights_hash(folder) != first


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt", "x.pkl", "a.pth"]
)
def test_a_pickle_is_refused_and_how_to_convert_it_is_said(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"cos\nsystem\n")
    folders.check(folder)  # the control: beside safetensors it is not read
    (folder / "model.safetensors").unlink()
    with pytest.raises(SelfrepError, match=r"as a pickle \(.*runs code.*save_pretrained"):
        folders.check(folder)


def test_a_pickled_adapter_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "find_spec", lambda name: object())
    (folder / folders.ADAPTER).write_text("{}")
    (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(SelfrepError, match=r"adapter as a pickle \(adapter_model\.bin\)"):
        folders.check(folder)
