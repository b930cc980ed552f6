"""No file can run anything, and one that is no good is refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.interop.directions.made import D, N, gguf, load, numbered, save

from selfrep.errors import SelfrepError


class Runs:
    """What a pickle could do."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("ran"),))


def test_nothing_that_could_run_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_axis.pt").write_bytes(pickle.dumps(Runs()))
    save(tmp_path / "b_axis.pt", {"axis": numbered(N), "metadata": Runs()})
    for name in ("a_axis.pt", "b_axis.pt"):
        with pytest.raises(SelfrepError, match=f"{name} must hold tensors alone.*saves the tensors again"):
            load(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def damaged(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    good = gguf(tmp_path / "good.gguf", "controlvector").read_bytes()
    axis = save(tmp_path / "good_axis.pt", numbered(N)).read_bytes()
    out = {
        "none": (tmp_path / "none.pt", "there is none at"),
        "empty": (tmp_path / "empty.pt", "it has 0 bytes"),
        "other": (tmp_path / "vectors.csv", r"come in .pt, .safetensors or .gguf files; got 'vectors.csv'"),
        "short gguf": (tmp_path / "short.gguf", "cut short or damaged"),
        "no gguf": (tmp_path / "text.gguf", "is no GGUF file"),
        "a model": (gguf(tmp_path / "model.gguf", "llama"), "no control vector: its general.architecture is 'llama'"),
        "short pt": (tmp_path / "short_axis.pt", "must hold tensors alone"),
        "nan": (save(tmp_path / "nan_axis.pt", numbered(N) * float("nan")), "finite numbers; those of layers"),
        "whole numbers": (save(tmp_path / "int_axis.pt", torch.ones(N, D, dtype=torch.int64)), "one tensor"),
        "no rows": (save(tmp_path / "zero_axis.pt", torch.ones(0, D)), r"got \[0, 8\]"),
        "a list": (save(tmp_path / "list_axis.pt", [1.0, 2.0]), "got list"),
        "words": (save(tmp_path / "words.pt", {"a": 1}), "hold a tensor, or it under axis"),
        "widths": (tmp_path / "widths.safetensors", "one width"),
        "names": (tmp_path / "names.safetensors", "are layer.0, layer.1.*got 'mean'"),
        "two of a layer": (
            save(tmp_path / "caps.pt", {"vectors": {k: {"vector": torch.ones(D), "layer": 1} for k in "ab"}}),
            "several vectors of layer 1",
        ),
    }
    (tmp_path / "empty.pt").touch()
    (tmp_path / "vectors.csv").write_text("1,2")
    (tmp_path / "short.gguf").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.gguf").write_text("direction.1 = 3")
    (tmp_path / "short_axis.pt").write_bytes(axis[: len(axis) // 2])
    save_file({"layer.0": torch.ones(3), "layer.1": torch.ones(4)}, tmp_path / "widths.safetensors")
    save_file({"layer.0": torch.ones(3), "mean": torch.ones(3)}, tmp_path / "names.safetensors")
    return out


def test_each_bad_file_is_refused_by_name_in_one_sentence(tmp_path: Path) -> None:
    for what, (file, words) in damaged(tmp_path).items():
        with pytest.raises(SelfrepError, match=words) as refused:
            load(file)
        assert file.name in str(refused.value), what
        assert len(str(refused.value)) < 700, what
