"""What is written is what was read, bit for bit, and what each project's own reader expects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from selfrep.errors import SelfrepError
from selfrep.interop.directions.load import load_directions
from selfrep.interop.directions.save import save_directions

N, D = 4, 8


def drawn(rows: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(3)).to(dtype)


def mine(layers: list[int]) -> xr.DataArray:
    values = drawn(len(layers), torch.float32).numpy()
    return xr.DataArray(values, {"layer": layers}, ["layer", "d_model"], attrs={"site": "resid_post"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("name", "rows", "format"), [("a_prompt_avg_diff.pt", N + 1, "persona_vectors"), ("axis.pt", N, "assistant_axis")]
)
def test_a_round_trip_changes_no_bit(tmp_path: Path, name: str, rows: int, format: str, dtype: torch.dtype) -> None:
    before = drawn(rows, dtype)
    torch.save(before, tmp_path / name)
    read = load_directions(tmp_path / name, tell=lambda line: None)
    after = torch.load(save_directions(read, tmp_path / "again.pt", format=format), weights_only=True)
    assert after.dtype == dtype
    assert torch.equal(after, before), "the rows that were left out, too"
    named = save_directions(read, tmp_path / "again.safetensors", format="safetensors")
    by_layer = load_file(named)
    assert {value.dtype for value in by_layer.values()} == {dtype}
    shift = 1 if format == "persona_vectors" else 0
    assert all(torch.equal(value, before[int(key[6:]) + shift]) for key, value in by_layer.items())


def test_the_dictionary_of_the_assistant_axis(tmp_path: Path) -> None:
    file = save_directions(mine([0, 1, 2]), tmp_path / "axis.pt", format="assistant_axis_dict")
    content = torch.load(file, weights_only=True)
    assert set(content) == {"axis", "metadata"}
    np.testing.assert_array_equal(content["axis"], mine([0, 1, 2]))


def test_a_control_vector_is_read_by_gguf_s_own_reader(tmp_path: Path) -> None:
    from gguf import GGUFReader

    made = mine([1, 3]).assign_attrs(model_hint="qwen2")
    reader = GGUFReader(save_directions(made, tmp_path / "mine.gguf", format="controlvector"))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "controlvector"
    assert (fields["controlvector.model_hint"], fields["controlvector.layer_count"]) == ("qwen2", 2)
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    assert set(tensors) == {"direction.1", "direction.3"}
    np.testing.assert_array_equal(tensors["direction.3"], made.sel(layer=3))


@pytest.mark.parametrize(
    ("directions", "format", "words"),
    [
        (mine([0, 1]), "gguf", "are written as persona_vectors, .*got 'gguf'"),
        (mine([0, 1]), "controlvector", "begins after block 1"),
        (mine([1, 2]), "assistant_axis", r"a row for every block from 0 on; these are of layers \[1, 2\]"),
        (mine([0]).assign_attrs(site="resid_pre"), "safetensors", "these are.* resid_pre"),
        (mine([0]).expand_dims("component"), "safetensors", "has the dimensions layer, d_model"),
        (mine([0]) * np.nan, "safetensors", "finite"),
    ],
)
def test_what_has_no_place_in_a_format_is_refused(
    tmp_path: Path, directions: xr.DataArray, format: str, words: str
) -> None:
    with pytest.raises(SelfrepError, match=words):
        save_directions(directions.assign_attrs(mine([0]).attrs | directions.attrs), tmp_path / "x", format=format)
    assert not (tmp_path / "x").exists()
