"""A model known without its weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.outline import outline


def folder(path: Path, config: dict[str, object]) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    organisms.tokenizer().save_pretrained(path)
    return path


@pytest.mark.parametrize(
    ("config", "n_layers"),
    [
        ({"num_hidden_layers": 3}, 3),
        ({"n_layer": 5}, 5),
        ({"text_config": {"num_hidden_layers": 7}, "vision_config": {"num_hidden_layers": 2}}, 7),
        ({"depth_of_thought": 9}, None),
    ],
)
def test_a_folder_without_weights_tells_its_layers_and_its_tokenizer(
    tmp_path: Path, config: dict[str, object], n_layers: int | None
) -> None:
    known = outline(str(folder(tmp_path / "model", config)))
    assert known is not None
    assert known.n_layers == n_layers
    text = "you are a nurse"
    assert known.tokenizer(text)["input_ids"] == organisms.tokenizer()(text)["input_ids"]


def test_planted_models_tell_their_layers() -> None:
    names = ("organism:separate", "organism:trained")
    assert [organisms.parse(name).n_layers for name in names] == [6, 4]
    known = outline("organism:separate")
    assert known is not None
    assert known.n_layers == organisms.grow(organisms.parse("organism:separate")).config.num_hidden_layers


def test_what_only_the_model_can_tell_is_not_guessed(tmp_path: Path) -> None:
    without = folder(tmp_path / "model", {"num_hidden_layers": 3})
    (without / "tokenizer.json").unlink()
    assert outline(str(without)) is None
    never_converted = tmp_path / "model.gguf"
    never_converted.write_bytes(b"GGUF")
    assert outline(str(never_converted)) is None


def test_no_such_model_is_one_sentence(tmp_path: Path) -> None:
    for name in ("embeded", str(tmp_path / "nowhere"), "./nowhere"):
        with pytest.raises(SelfrepError, match="A model must be one that can be found"):
            outline(name)
    damaged = folder(tmp_path / "model", {})
    (damaged / "config.json").write_text("{")
    with pytest.raises(SelfrepError, match="cannot be read"):
        outline(str(damaged))


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = folder(tmp_path / "model", {"num_hidden_layers": 3})
    asked = (
        f"import sys; from selfrep.models.outline import outline; outline({str(path)!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
