"""Numbers and JSON come in as they are; everything else is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from selfrep.errors import SelfrepError
from selfrep.models.external.files import Arrays, described, one_of, read_arrays, read_state


def test_the_same_numbers_from_every_format(tmp_path: Path) -> None:
    numbers = {"a/w": np.arange(6).reshape(2, 3), "b": np.array([True, False])}
    np.savez(tmp_path / "x.npz", **numbers)
    np.savez_compressed(tmp_path / "y.npz", **numbers)
    save_file(numbers, tmp_path / "x.safetensors")
    torch.save({name: torch.from_numpy(x) for name, x in numbers.items()}, tmp_path / "x.pth")
    read = [read_arrays(tmp_path / "x.npz"), read_arrays(tmp_path / "y.npz"), read_state(tmp_path / "x.safetensors")]
    for found in (*read, read_state(tmp_path / "x.pth")):
        assert found.keys() == numbers.keys()
        for name, x in found.items():
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, numbers[name])


def test_half_precision_is_read_as_it_is(tmp_path: Path) -> None:
    halves = {"w": torch.tensor([0.5, -3.0], dtype=torch.bfloat16)}
    torch.save(halves, tmp_path / "x.pth")
    save_tensors(halves, tmp_path / "x.safetensors")
    for file in ("x.pth", "x.safetensors"):
        np.testing.assert_array_equal(read_state(tmp_path / file)["w"], [0.5, -3.0])


@pytest.mark.parametrize("damaged", [b"", b"\x80\x04}.", b"PK\x03\x04 cut short", b"text"])
def test_a_damaged_state_dict(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(damaged)
    with pytest.raises(SelfrepError, match=r"must be a state dict.*Save it again: torch.save"):
        read_state(tmp_path / "x.pth")


def test_what_is_taken_is_gone_and_had_the_shape(tmp_path: Path) -> None:
    arrays = Arrays(tmp_path / "x.npz", {"a": np.ones((2, 3), np.float32), "b": np.zeros(1, np.float32)})
    assert arrays.take("a", 2, 3).shape == (2, 3)
    arrays.require_all_taken("no model", besides="b")
    with pytest.raises(SelfrepError, match=r"x.npz holds what no model has: b\."):
        arrays.require_all_taken("no model")
    with pytest.raises(SelfrepError, match="must hold 'a'; it has b"):
        arrays.take("a", 2, 3)
    with pytest.raises(SelfrepError, match=r"'b' in .*x.npz must be \[2\]; it is \[1\]"):
        arrays.take("b", 2)


def test_one_file_of_a_name(tmp_path: Path) -> None:
    assert one_of(tmp_path, "*.json") is None
    (tmp_path / "b.json").touch()
    assert one_of(tmp_path, "a*.json", "*.json") == tmp_path / "b.json"
    (tmp_path / "c.json").touch()
    with pytest.raises(SelfrepError, match=r"b.json, c.json. Give each a folder"):
        one_of(tmp_path, "*.json")


def test_a_field_that_does_not_fit_is_named(tmp_path: Path) -> None:
    class Fields(BaseModel):
        size: int

    (tmp_path / "x.json").write_text('{"size": 3}')
    assert described(tmp_path / "x.json", Fields).size == 3
    for text, message in (('{"size": "big"}', "size: Input should be a valid integer"), ("[]", "the whole: ")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(SelfrepError, match=message):
            described(tmp_path / "x.json", Fields)
