"""The effects Dataset: its schema, and that any cell can be computed again from what it holds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from tests.tiny import log_odds, logits, patched_logits, ragged, tiny, token_pair, values_at

from selfrep.engine import plain
from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid
from selfrep.prompts.alignment import PromptPair, swapped


@pytest.fixture(scope="module")
def pairs() -> list[PromptPair]:
    real = [token_pair(1), token_pair(2, systems=(4, 6), suffix=(1, 2, 1))]
    control = replace(real[0], control="persona", source=token_pair(1, systems=(7, 3)).source, reference=real[0].source)
    end = real[0].target.ids[-7:]
    control = replace(control, source=replace(control.source, ids=(*control.source.ids[:-7], *end)))
    return [*real, swapped(real[1]), control]


@pytest.fixture(scope="module")
def effects(pairs: list[PromptPair]) -> xr.Dataset:
    return patch(tiny(), pairs, grid("attn_out"), seed=3)


def test_the_schema(effects: xr.Dataset) -> None:
    assert dict(effects.sizes) == {
        "pair": 4, "layer": 3, "position": 7, "source_token": 14, "target_token": 10, "item_name": 2, "side": 2, "k": 3,
    }  # fmt: skip
    assert {name: data.dims for name, data in effects.data_vars.items()} == {
        "patched": ("pair", "layer", "position"),
        "transfer": ("pair", "layer", "position"),
        "source_metric": ("pair",),
        "target_metric": ("pair",),
        "total_effect": ("pair",),
        "answer_mass_source": ("pair",),
        "answer_mass_target": ("pair",),
        "source_ids": ("pair", "source_token"),
        "target_ids": ("pair", "target_token"),
        "answer_ids": ("item_name", "side", "k"),
    }
    assert effects.patched.dtype == np.float32
    assert list(effects.position.values) == list(range(-7, 0))
    assert list(effects.direction.values) == ["denoise", "denoise", "noise", "denoise"]
    assert list(effects.control.values) == ["", "", "", "persona"]
    assert list(effects.source.values) == ["s1", "s2", "t2", "s1"]
    assert list(effects.target.values) == ["t1", "t2", "s2", "t1"]
    assert list(effects.item.values) == ["item1", "item2", "item2", "item1"]


def test_every_cell_says_which_token_it_changes(effects: xr.Dataset, pairs: list[PromptPair]) -> None:
    for i, pair in enumerate(pairs):
        shared = sum(s != "system" for s in pair.target.segments)
        row = [""] * (7 - shared)
        assert list(effects.token.values[i]) == [*row, *pair.target.texts[-shared:]]
        assert list(effects.segment_of.values[i]) == [*row, *pair.target.segments[-shared:]]
        assert np.isnan(effects.patched.values[i, :, : 7 - shared]).all()
    assert list(effects.segment.values) == ["template"] * 2 + ["question", "mixed", "question", "mixed", "prefill"]


def test_where_it_comes_from(effects: xr.Dataset) -> None:
    attrs = effects.attrs
    assert (attrs["site"], attrs["metric"], attrs["dtype"], attrs["device"]) == (
        "attn_out",
        "answer_log_odds",
        "float32",
        "cpu",
    )
    assert attrs["seed"] == 3
    assert attrs["weights_hash"] == tiny().weights_hash
    assert {"selfrep", "torch", "transformers", "transformer-lens"} <= set(json.loads(attrs["versions"]))


def test_any_cell_can_be_computed_again_from_the_dataset_alone(effects: xr.Dataset) -> None:
    lm, rng = tiny(), np.random.default_rng(0)
    for _ in range(20):
        cell = effects.isel(pair=rng.integers(4), layer=rng.integers(3), position=rng.integers(7))
        if np.isnan(cell.patched):
            continue
        source, target = (ids[ids >= 0] for ids in (cell.source_ids.values, cell.target_ids.values))
        first, second = (tuple(s[s >= 0]) for s in cell.answer_ids.sel(item_name=cell["item"].item()).values)
        values = values_at(lm.hf, "llama", "attn_out", int(cell.layer), source)
        last = patched_logits(lm.hf, "llama", "attn_out", int(cell.layer), values, target, [int(cell.position)])
        assert cell.patched.item() == pytest.approx(log_odds(last, (first, second)), abs=1e-4)
        for name, ids in (("source", source), ("target", target)):
            plain_last = logits(lm.hf, ids)[-1]
            assert cell[f"{name}_metric"].item() == pytest.approx(log_odds(plain_last, (first, second)), abs=1e-4)
            mass = float(plain_last.softmax(-1)[list(first + second)].sum())
            assert cell[f"answer_mass_{name}"].item() == pytest.approx(mass, abs=1e-5)


def test_transfer_is_measured_on_the_scale_of_the_real_pair(effects: xr.Dataset) -> None:
    total = effects.total_effect
    np.testing.assert_allclose(total[:3], (effects.source_metric - effects.target_metric)[:3], atol=1e-5)
    assert total[3].item() == pytest.approx(total[0].item(), abs=1e-5)
    assert abs(effects.source_metric[3] - effects.source_metric[0]) > 1e-3  # though its own source says something else
    np.testing.assert_allclose(
        effects.transfer, (effects.patched - effects.target_metric) / total, rtol=1e-4, atol=1e-4
    )
    assert total[2].item() == pytest.approx(-total[1].item(), abs=1e-5)  # noise is the same pair the other way round


def test_token_ids_come_with_their_positions() -> None:
    data = patch_tokens(
        tiny(), ragged([6, 4], seed=1), ragged([5, 5], seed=2), grid("resid_pre"), logit_difference(1, 2)
    )
    assert list(data.position.values) == [-5, -4, -3, -2, -1]
    assert list(data.token.values[1]) == ["", *map(str, data.target_ids.values[1, 1:])]
    assert data.answer_ids.sel(item_name=data.item.values[1]).values.tolist() == [[1], [2]]
    each = patch_tokens(
        tiny(),
        data.source_ids.values,
        data.target_ids.values,
        grid("resid_pre"),
        logit_difference(torch.tensor([1, 5]), 2),
    )
    assert each.answer_ids.sel(item_name=each.item.values[1]).values.tolist() == [[5], [2]]


@pytest.mark.parametrize("site", ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_the_slow_way_is_right_too(family: str, site: str) -> None:
    """`plain` judges the replay, so it is judged itself, by hooks that are not its own."""
    lm, pair = tiny(family), token_pair(1)
    answers = np.array([[7, 8], [9, -1]])
    source, target = (np.array([-1, *ids]) for ids in (pair.source.ids, pair.target.ids))
    for positions in ([-1], [-6, -3]):
        values = values_at(lm.hf, family, site, 1, source[1:])
        last = patched_logits(lm.hf, family, site, 1, values, target[1:], positions)
        got = plain.cell(lm, source, target, answers, site, 1, positions)
        assert got == pytest.approx(log_odds(last, ((7, 8), (9,))), abs=1e-5)
    unpatched = log_odds(logits(lm.hf, target[1:])[-1], ((7, 8), (9,)))
    assert plain.metric_of(lm, target, answers) == pytest.approx(unpatched, abs=1e-5)  # and it leaves no hook behind
