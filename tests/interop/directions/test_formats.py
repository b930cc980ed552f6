"""Files of each project, made as its own code makes them: each row comes to its block."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.interop.directions.made import N, gguf, load, numbered, of_rows, save

from selfrep.errors import SelfrepError


@pytest.mark.parametrize("kind", ["prompt_avg", "response_avg", "prompt_last"])
def test_persona_vectors_have_a_row_for_the_embedding_and_one_after_the_norm(tmp_path: Path, kind: str) -> None:
    read = load(save(tmp_path / f"evil_{kind}_diff.pt", numbered(N + 1)))
    assert of_rows(read) == {0: 1, 1: 2, 2: 3}, "row l is after block l − 1"
    assert read.dims == ("layer", "d_model")
    assert (read.site, read.format, read.dtype) == ("resid_post", "persona_vectors", "float32")
    assert "left out: row 0 (the embedding), row 4 (after the final norm)" in read.convention


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("assistant_axis.pt", numbered(N, torch.bfloat16)),
        ("default_vector.pt", numbered(N, torch.bfloat16)),
        ("role_vectors/pirate.pt", numbered(N, torch.bfloat16)),
        ("vectors/pirate.pt", {"vector": numbered(N, torch.bfloat16), "type": "pos_3", "role": "pirate"}),
        ("save.pt", {"axis": numbered(N, torch.bfloat16), "metadata": {"model": "tiny"}}),
        ("activations/pirate.pt", {"pos_p0_q0": numbered(N) - 0.5, "pos_p1_q0": numbered(N) + 0.5}),
    ],
)
def test_rows_of_the_assistant_axis_are_blocks(tmp_path: Path, name: str, content: object) -> None:
    read = load(save(tmp_path / name, content))
    assert of_rows(read) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert read.site == "resid_post"


def test_capping_vectors_say_where_they_belong_and_which_way_they_point(tmp_path: Path) -> None:
    vectors = {f"layer_{k}/contrast": {"vector": numbered(N)[k], "layer": k} for k in (1, 3)}
    read = load(save(tmp_path / "capping_config.pt", {"vectors": vectors, "experiments": [{"id": "a", "cap": 1.5}]}))
    assert of_rows(read) == {1: 1, 3: 3}
    assert "away from the Assistant" in read.positive
    assert read.experiments == [{"id": "a", "cap": 1.5}]


def test_mean_differences_of_refusal_are_before_a_block_and_one_for_each_position(tmp_path: Path) -> None:
    means = numbered(N, torch.float64)[None] + 100 * torch.arange(5, dtype=torch.float64)[:, None, None]
    read = load(save(tmp_path / "mean_diffs.pt", means))
    assert read.dims == ("layer", "component", "d_model")
    assert read.sel(layer=2, component="-1")[0] == 403
    assert (read.site, read.dtype, read.values.dtype) == ("resid_pre", "float64", np.float64)
    one = save(tmp_path / "direction.pt", means[4, 2])
    with pytest.raises(SelfrepError, match=r"direction_metadata.json beside it must name its layer"):
        load(one)
    (tmp_path / "direction_metadata.json").write_text(json.dumps({"pos": -1, "layer": 2}))
    assert of_rows(load(one)) == {2: 402}


@pytest.mark.parametrize("kind", ["controlvector", "steeringvector"])
def test_control_vectors_name_the_block_that_they_come_after(tmp_path: Path, kind: str) -> None:
    file = gguf(tmp_path / "mine.gguf", kind)
    assert of_rows(load(file)) == {1: 1, 2: 2, 3: 3}
    assert of_rows(load(file, layer_offset=-1)) == {0: 1, 1: 2, 2: 3}, "as llama.cpp's generator counts"
    assert load(file).model_hint == "llama"


def test_layers_by_name_and_objects_that_have_layers(tmp_path: Path) -> None:
    save_file({f"layer.{k}": numbered(N)[k].clone() for k in (2, 0)}, tmp_path / "mine.safetensors")
    assert of_rows(load(tmp_path / "mine.safetensors")) == {0: 0, 2: 2}
    vector = SimpleNamespace(layer_activations={3: numbered(N)[3], 1: numbered(N)[1]}, layer_type="mlp")
    read = load(vector)
    assert of_rows(read) == {1: 1, 3: 3}
    assert read.site == "mlp_out"


def test_where_neither_name_nor_content_tells_the_caller_says_who_wrote_it(tmp_path: Path) -> None:
    file = save(tmp_path / "mine.pt", numbered(N + 1))
    with pytest.raises(SelfrepError, match="its name does not tell"):
        load(file)
    assert of_rows(load(file, format="persona_vectors")) == {0: 1, 1: 2, 2: 3}
    assert len(load(file, format="assistant_axis").layer) == N + 1
    with pytest.raises(SelfrepError, match=r"Directions come as persona_vectors, .*got 'mine'"):
        load(file, format="mine")
