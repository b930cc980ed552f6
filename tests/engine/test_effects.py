"""The effects Dataset: its schema, and that any cell can be computed again from what it holds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from tests.tiny import log_odds, logits, patched_logits, ragged, tiny, tiny_hf, token_pair, values_at

from selfrep.engine.interventions import Ablate
from selfrep.engine.metrics import kl_divergence, logit_difference, logit_metric
from selfrep.engine.patch import patch, patch_tokens
from selfrep.engine.plan import grid
from selfrep.models.loading import load_model
from selfrep.plots.effects import heatmap
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


@pytest.mark.parametrize("scale", [1e-6, 1.0])
def test_a_total_effect_of_rounding_has_no_map(scale: float) -> None:
    """The persona hardly reaches the last token: rounding divided by rounding is a strong map of nothing."""
    hf = tiny_hf()
    with torch.no_grad():
        for layer in hf.model.layers:  # type: ignore[union-attr]
            layer.self_attn.o_proj.weight *= scale
    effects = patch(load_model(hf), [token_pair(k, systems=(5, 5)) for k in range(3)], "resid_pre")
    assert (effects.total_effect != 0).any()
    assert np.isfinite(effects.patched).all()
    assert np.isnan(effects.transfer).all() == (scale < 1)
    said = [note.text for note in heatmap(effects).layout.annotations]
    assert any("less than float32 resolves" in text for text in said) == (scale < 1)


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


def test_several_metrics_are_a_dimension() -> None:
    ids = ragged([6, 4], seed=1), ragged([5, 5], seed=2)
    metrics = [logit_difference(1, 2), kl_divergence("source"), kl_divergence("target")]
    data = patch_tokens(tiny(), *ids, grid("z", heads=[0, 3]), metrics)
    assert data.patched.dims == ("pair", "layer", "position", "head", "metric")
    assert list(data.metric.values) == ["logit_difference", "kl_divergence from source", "kl_divergence from target"]
    assert list(data["head"].values) == [0, 3]
    for i, metric in enumerate(metrics):
        alone = patch_tokens(tiny(), *ids, grid("z", heads=[0, 3]), metric)
        np.testing.assert_allclose(data.patched.isel(metric=i), alone.patched, atol=1e-5)
        np.testing.assert_allclose(data.total_effect.isel(metric=i), alone.total_effect, atol=1e-5)
    assert "answer_ids" not in alone
    assert "answer_mass_source" not in alone


def test_a_union_is_a_tree_of_datasets() -> None:
    ids = ragged([6, 4], seed=1), ragged([5, 5], seed=2)
    plans = grid("resid_pre") | grid("attn_out", positions=[-1]) | grid("resid_pre", intervention=Ablate())
    tree = patch_tokens(tiny(), *ids, plans, logit_difference(1, 2))
    assert list(tree.children) == ["resid_pre", "attn_out", "resid_pre ablate to zero"]
    for name, plan in zip(tree.children, plans.plans, strict=True):
        alone = patch_tokens(tiny(), *ids, plan, logit_difference(1, 2))
        np.testing.assert_allclose(tree[name].patched, alone.patched, atol=1e-5)
        assert tree[name].attrs["intervention"] == plan.intervention.name


def test_a_total_effect_that_is_rounding_has_no_shares(pairs: list[PromptPair]) -> None:
    """A metric that float32 cannot tell from a constant, and one that it can."""
    steps, tenths = (
        patch(tiny(), pairs, grid("resid_pre"), logit_metric("m", lambda x, s=size: 5 + s * x[..., 0, 7], tokens=None))
        for size in (5e-7, 0.1)
    )
    assert (steps.total_effect != 0).any(), "the control: not exactly 0"
    assert np.isnan(steps.transfer).all()
    assert np.isfinite(tenths.transfer).any()
