"""A configuration that asks for what nobody could build is refused before anything is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfrep.errors import SelfrepError
from selfrep.models.config_files import FILE, MOST_LAYERS, require_buildable
from selfrep.models.loadable import skeleton
from selfrep.models.outline import outline


@pytest.mark.parametrize("layers", [0, -1, 10**9, MOST_LAYERS + 1, 2.5, "12", True, [12]])
@pytest.mark.parametrize("deep", [False, True])
def test_a_number_of_layers_that_no_model_has_is_refused(layers: object, deep: bool, tmp_path: Path) -> None:
    config = {"num_hidden_layers": layers}
    (tmp_path / FILE).write_text(json.dumps({"text_config": config} if deep else config))
    with pytest.raises(SelfrepError, match=r"config\.json asks for .* layers \(num_hidden_layers\)"):
        require_buildable(tmp_path)


@pytest.mark.parametrize("text", ["[]", "null", "{", "", "[" * 100_000, '{"a": ' + "9" * 10_000 + "}"])
def test_what_is_no_configuration_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(SelfrepError, match=r"config\.json must describe a model"):
        require_buildable(tmp_path)


def test_others_are_taken(tmp_path: Path) -> None:
    for config in ({"n_layer": 1}, {"num_hidden_layers": MOST_LAYERS}, {"num_layers": None}, {}):
        (tmp_path / FILE).write_text(json.dumps(config))
        require_buildable(tmp_path)


def test_it_is_asked_before_modules_and_tokenizers_are_made(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 10**9}))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert skeleton(str(tmp_path)) is None
    with pytest.raises(SelfrepError, match="asks for 1000000000 layers"):
        outline(str(tmp_path))
