"""What Tracr would say of a compiled program is what the loaded model says, and what it wrote is what is known."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.models.external.compiled import (
    CIRCUIT,
    HEADS,
    POSITIONS,
    SIZE,
    VIA,
    WORDS,
    Bomb,
    D,
    arrays,
    config,
    drawn,
    says,
    tracr_says,
    write_tracr,
)

from selfrep.errors import SelfrepError
from selfrep.models.external import Component, tracr


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("via", [True, False])
def test_it_says_what_the_program_says(tmp_path: Path, kind: str, causal: bool, via: bool) -> None:
    params = arrays(via=via)
    rng = np.random.default_rng(0)
    for name, x in params.items():  # so that no bias or unused weight can be left out
        params[name] = x + 0.1 * rng.standard_normal(x.shape).astype(np.float32)
    known = tracr(write_tracr(tmp_path / "first", params, config(causal=causal), kind))
    for ids in drawn():
        np.testing.assert_allclose(says(known, ids), tracr_says(params, ids, causal=causal), rtol=1e-4, atol=1e-4)
    assert known.lm.is_causal == causal


@pytest.mark.parametrize("via", [True, False])
def test_the_circuit_is_what_the_compiler_wrote(tmp_path: Path, via: bool) -> None:
    known = tracr(write_tracr(tmp_path / "first", arrays(via=via), config()))
    assert known.circuit == {Component(*one) for one in (VIA if via else CIRCUIT)}
    assert len(known.components) == 3 * (HEADS + 1)
    assert set(known.components) > known.circuit


def test_the_program_does_what_it_is_called(tmp_path: Path) -> None:
    known = tracr(write_tracr(tmp_path / "first", arrays(), config()))
    a, b = WORDS.index("a"), WORDS.index("b")
    for first, wanted in ((a, 0), (b, 1)):
        assert says(known, [0, first, a, b])[-1].argmax() == wanted
    through = tracr(write_tracr(tmp_path / "via", arrays(via=True), config(causal=False)))
    blind = tracr(write_tracr(tmp_path / "blind", arrays(via=True), config(causal=True)))
    for second, wanted in ((a, 0), (b, 1)):
        assert says(through, [0, b, second, b])[-1].argmax() == wanted
    assert says(blind, [0, b, a, b])[-1] == pytest.approx(says(blind, [0, b, b, b])[-1]), (
        "the control: it needs both ways"
    )


def test_words_are_what_is_said_to_it(tmp_path: Path) -> None:
    known = tracr(write_tracr(tmp_path / "first", arrays(), config()))
    assert known.lm.tokenizer("BOS b c a").input_ids == [0, 3, 4, 2]
    assert (known.lm.tokenizer.bos_token, known.lm.tokenizer.pad_token) == ("BOS", "PAD")
    assert known.name == known.lm.name == "Tracr first"
    assert known.inputs.drawn == (2, 3, 4)
    assert (known.inputs.first, known.inputs.shortest, known.inputs.longest) == (0, 2, POSITIONS)


def shaped(name: str, *shape: int) -> dict[str, np.ndarray]:
    return arrays() | {name: np.zeros(shape, dtype=np.float32)}


def without(name: str) -> dict[str, np.ndarray]:
    return {key: x for key, x in arrays().items() if key != name}


QUERY = "transformer/layer_1/attn/query/w"


@pytest.mark.parametrize(
    ("params", "said", "message"),
    [
        (arrays(), config(activation="swish"), "activation: Input should be 'relu' or 'gelu'; got 'swish'"),
        (arrays(), config(layer_norm=True), "layer_norm: Input should be False; got True"),
        (arrays(), config(num_heads=0), "num_heads: Input should be greater than or equal to 1"),
        (arrays(), config(colour="red"), "colour: Extra inputs are not permitted.*It has the fields .*key_size"),
        ({}, {"num_heads": 1}, "key_size: Field required"),
        (arrays(), config(vocabulary=WORDS[:3]), "each of the 5 tokens.*names 3"),
        (arrays(), config(bos="a word"), "a word of its vocabulary, 'BOS'.*has 'a word'"),
        (arrays(), config(lengths=[2, 7]), "2 … 6 here.*says 2 and 7"),
        (shaped(QUERY, D, 5), config(), rf"{QUERY}' in .*params.npz must be \[{D}, {HEADS * SIZE}\]; it is \[{D}, 5\]"),
        (shaped("unembed", D), config(), r"'unembed' in .* must have 2 axes"),
        (shaped("token_embed/embeddings", 4, D), config(), "names 5"),
        (without(QUERY), config(), f"must hold '{QUERY}'"),
        (without("unembed"), config(), "must hold 'unembed'"),
        (shaped("transformer/layer_0/gate/w", 2), config(), "what no Tracr model has: transformer/layer_0/gate/w"),
        (arrays() | {"unembed": np.full((D, 2), np.nan)}, config(), "'unembed' in .* must be finite"),
        (arrays() | {"unembed": np.array([{}])}, config(), "must hold arrays of numbers, but cannot be read"),
        (arrays() | {"unembed": np.array(["a"])}, config(), "must hold arrays of numbers; 'unembed' is of <U1"),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_fit_is_one_clear_error(
    tmp_path: Path, params: dict[str, np.ndarray], said: dict[str, Any], message: str
) -> None:
    with pytest.raises(SelfrepError, match=message):
        tracr(write_tracr(tmp_path / "odd", params, said))


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match=r"is a folder; .*nowhere is none"):
        tracr(tmp_path / "nowhere")
    with pytest.raises(SelfrepError, match="with vocabulary, bos"):
        tracr(tmp_path)
    folder = write_tracr(tmp_path / "cut", arrays(), config())
    whole = (folder / "params.npz").read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(3))
    for damaged in (whole[: len(whole) // 2], b"", b"\x80\x04}.", (tmp_path / "one.npy").read_bytes()):
        (folder / "params.npz").write_bytes(damaged)
        with pytest.raises(SelfrepError, match="must hold arrays of numbers, but cannot be read"):
            tracr(folder)
    (folder / "params.npz").unlink()
    (folder / "params.safetensors").write_bytes(b"\x08")
    with pytest.raises(SelfrepError, match="must hold arrays of numbers, but cannot be read"):
        tracr(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(SelfrepError, match="must be JSON"):
        tracr(folder)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    went_off = tmp_path / "went off"
    pickle.loads(pickle.dumps(Bomb(went_off)))
    assert went_off.exists(), "the control: opening it does something"
    went_off.unlink()
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "model.pkl").write_bytes(pickle.dumps(Bomb(went_off)))
    with pytest.raises(SelfrepError, match=re.escape('np.savez("params.npz"')) as refused:
        tracr(folder)
    assert "model.pkl is a pickle" in str(refused.value)
    np.savez(folder / "params.npz", **without("unembed"), unembed=np.array([Bomb(went_off)], dtype=object))
    with pytest.raises(SelfrepError, match="cannot be read"):
        tracr(folder)
    assert not went_off.exists()
