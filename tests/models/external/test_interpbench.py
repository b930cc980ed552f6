"""What TransformerLens would say of a state dict is what the loaded model says; pickles stay shut."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.models.external.compiled import (
    CIRCUIT,
    EDGES,
    INPUTS,
    POSITIONS,
    Bomb,
    D,
    arrays,
    drawn,
    hooked,
    hooked_says,
    says,
    write_interpbench,
)

from selfrep.errors import SelfrepError
from selfrep.models.external import Component, interpbench
from selfrep.models.external.interpbench import _TO_JSON, circuit_of


@pytest.mark.parametrize("norm", [None, "LNPre", "LN"])
@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
def test_it_says_what_transformer_lens_says(tmp_path: Path, norm: str | None, direction: str) -> None:
    state, cfg = hooked(arrays(), noise=0.3)
    cfg |= {"act_fn": "gelu", "normalization_type": norm, "attention_dir": direction}
    if norm == "LN":
        rng = torch.Generator().manual_seed(0)
        for name in ("ln_final", *(f"blocks.{layer}.ln{k}" for layer in range(3) for k in (1, 2))):
            state |= {f"{name}.{part}": torch.randn(D, generator=rng) for part in "wb"}
    known = interpbench(write_interpbench(tmp_path / "3", state, cfg))
    for ids in drawn():
        np.testing.assert_allclose(says(known, ids), hooked_says(state, cfg, ids), rtol=1e-4, atol=1e-4)


def test_the_circuit_is_what_the_edges_name(tmp_path: Path) -> None:
    known = interpbench(write_interpbench(tmp_path / "3", *hooked(arrays())))
    assert known.circuit == {Component(*one) for one in CIRCUIT}
    assert (known.name, known.lm.name) == ("InterpBench 3", "InterpBench 3")
    assert (known.inputs.shortest, known.inputs.longest) == (POSITIONS, POSITIONS), "full length, as they are trained"


def test_published_names_with_a_number_and_safetensors(tmp_path: Path) -> None:
    state, cfg = hooked(arrays())
    folder = write_interpbench(tmp_path / "3", state, cfg)
    (folder / "ll_model_cfg.json").rename(folder / "ll_model_cfg_510.json")
    (folder / "ll_model.pth").rename(folder / "ll_model_510.pth")
    before = says(interpbench(folder), drawn()[0])
    save_file(state, folder / "ll_model_510.safetensors")
    (folder / "ll_model_510.pth").unlink()
    np.testing.assert_array_equal(says(interpbench(folder), drawn()[0]), before)
    save_file(state, folder / "ll_model_511.safetensors")
    with pytest.raises(SelfrepError, match=r"several: ll_model_510.*, ll_model_511.*Give each"):
        interpbench(folder)


@pytest.mark.parametrize(
    ("name", "components"),
    [
        ("blocks.1.attn.hook_result[2]", {(1, 2)}),
        ("blocks.1.attn.hook_result[:, :, 2]", {(1, 2)}),
        ("blocks.1.hook_q_input[0]", {(1, 0)}),
        ("blocks.0.attn.hook_z[3]", {(0, 3)}),
        ("blocks.0.hook_attn_out", {(0, 0), (0, 1), (0, 2), (0, 3)}),
        ("blocks.1.hook_mlp_in", {(1, None)}),
        ("blocks.1.mlp.hook_post", {(1, None)}),
        ("blocks.1.hook_resid_post", set()),
        ("hook_embed", set()),
        ("hook_pos_embed", set()),
    ],
)
def test_names_of_hooks(name: str, components: set[tuple[int, int | None]]) -> None:
    found = circuit_of(Path("edges.json"), [["hook_embed", name]], layers=2, heads=4)
    assert found == {Component(*one) for one in components}


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ({"edges": EDGES}, "must be a list of edges"),
        ([["hook_embed"]], "must be a list of edges"),
        ([["hook_embed", 3]], "must be a list of edges"),
        ([["hook_embed", "logits"]], "has 'logits'"),
        ([["hook_embed", "blocks.1.hook_scale"]], "has 'blocks.1.hook_scale'"),
        ([["hook_embed", "blocks.3.hook_mlp_in"]], "3 layers of 2 heads; .* has 'blocks.3.hook_mlp_in'"),
        ([["hook_embed", "blocks.1.hook_q_input[2]"]], "3 layers of 2 heads"),
    ],
)
def test_edges_that_name_nothing(tmp_path: Path, edges: Any, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        interpbench(write_interpbench(tmp_path / "3", *hooked(arrays()), edges=edges))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"act_fn": "solu_ln"}, "act_fn: .*'relu', 'gelu', 'gelu_new' or 'silu'; got 'solu_ln'"),
        ({"normalization_type": "RMS"}, "normalization_type: .*got 'RMS'"),
        ({"positional_embedding_type": "rotary"}, "positional_embedding_type: .*got 'rotary'"),
        ({"attention_dir": "up"}, "attention_dir: .*got 'up'"),
        ({"gated_mlp": True, "n_key_value_heads": 1}, "has none of gated_mlp, n_key_value_heads"),
        ({"d_head": 5}, r"'blocks.0.attn.W_Q' in .* must be \[2, 18, 5\]; it is \[2, 18, 3\]"),
        ({"d_mlp": None}, "d_mlp: Input should be a valid integer"),
        ({"n_layers": 2}, "what no model of InterpBench has: blocks.2"),
        ({"normalization_type": "LN"}, "must hold 'ln_final.w'"),
        ({"d_vocab_out": -1}, r"'unembed.W_U' in .* must be \[18, 5\]"),
    ],
)
def test_a_configuration_that_does_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    state, cfg = hooked(arrays())
    with pytest.raises(SelfrepError, match=message):
        interpbench(write_interpbench(tmp_path / "3", state, cfg | change))


def test_files_that_are_missing(tmp_path: Path) -> None:
    folder = write_interpbench(tmp_path / "3", *hooked(arrays()))
    for name, message in (
        ("ll_model.pth", "holds ll_model.pth or"),
        ("inputs.json", r'"bos": "BOS", "pad": "PAD"'),
        ("edges.json", "holds edges.json"),
        ("ll_model_cfg.json", "holds ll_model_cfg.json"),
    ):
        (folder / name).unlink()
        with pytest.raises(SelfrepError, match=message):
            interpbench(folder)


def test_pickles_are_refused_with_the_lines_that_turn_them_into_json(tmp_path: Path) -> None:
    state, cfg = hooked(arrays())
    folder, went_off = write_interpbench(tmp_path / "3", state, cfg), tmp_path / "went off"
    for name in ("ll_model_cfg", "edges"):
        (folder / f"{name}.json").unlink()
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(Bomb(went_off)))
        with pytest.raises(SelfrepError, match=f"{name}.pkl is a pickle.*Turn it into JSON yourself") as refused:
            interpbench(folder)
        (folder / f"{name}.json").write_text(json.dumps(cfg if name == "ll_model_cfg" else EDGES))
    torch.save({"embed.W_E": Bomb(went_off)}, folder / "ll_model.pth")
    with pytest.raises(SelfrepError, match="weights_only=True"):
        interpbench(folder)
    torch.save([1, 2], folder / "ll_model.pth")
    with pytest.raises(SelfrepError, match="must be a state dict, names → tensors"):
        interpbench(folder)
    assert not went_off.exists()

    torch.save(state, folder / "ll_model.pth")
    wanted = interpbench(folder)
    for name, said in (("ll_model_cfg", cfg), ("edges", [tuple(edge) for edge in EDGES])):
        (folder / f"{name}.json").unlink()
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(said))
    lines = dedent(str(refused.value).split("\n", 1)[1])
    subprocess.run([sys.executable, "-c", lines], cwd=folder, check=True)
    again = interpbench(folder)
    assert again.circuit == wanted.circuit
    np.testing.assert_array_equal(says(again, drawn()[0]), says(wanted, drawn()[0]))
    assert again.inputs == wanted.inputs
    assert INPUTS["bos"] == again.lm.tokenizer.bos_token


def test_the_documentation_has_the_same_lines() -> None:
    text = (Path(__file__).parents[3] / "docs" / "validation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert dedent(_TO_JSON) in [block.rstrip() for block in blocks]
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert json.loads(example) == INPUTS
