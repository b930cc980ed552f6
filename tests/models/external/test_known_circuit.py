"""A model from elsewhere is a model like any other: every site of it is patched exactly, both ways of attending."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.external.compiled import arrays, config, drawn, hooked, write_interpbench, write_tracr

import selfrep as sr
from selfrep.errors import SelfrepError
from selfrep.models.external import Component, interpbench, tracr
from selfrep.models.sites import HEAD_SITES, RESIDUAL_SITES


def test_components_have_names_and_an_order() -> None:
    assert [str(one) for one in (Component(1, 2), Component(0))] == ["head 1.2", "MLP 0"]


@pytest.mark.parametrize("norm", [None, "LNPre"])
@pytest.mark.parametrize("ragged", [False, True])
def test_every_site_is_patched_exactly(tmp_path: Path, norm: str | None, ragged: bool) -> None:
    state, cfg = hooked(arrays(), noise=0.3)
    known = interpbench(write_interpbench(tmp_path / "3", state, cfg | {"normalization_type": norm}))
    source, target = (np.array(drawn(4, seed=seed)) for seed in (1, 2))
    if ragged:
        target[:2] = np.roll(target[:2], 2, axis=1)
        target[:2, :2] = -1
    plan = sr.grid("mlp_post", neurons=[0, 3])
    for site in (*RESIDUAL_SITES, *HEAD_SITES):
        plan = plan | sr.grid(site)
    metric = sr.logit_difference(0, 1)
    found = sr.patch_tokens(known.lm, source, target, plan, metric)  # proves itself against plain hooked passes
    assert found["z"].attrs["engine"] == "replay"
    whole = found["resid_post"].to_dataset().sel(layer=2, position=-1)
    np.testing.assert_allclose(whole.transfer, 1.0, atol=1e-4)


def test_a_model_that_attends_both_ways_is_run_as_a_whole(tmp_path: Path) -> None:
    known = tracr(write_tracr(tmp_path / "via", arrays(via=True), config(causal=False)))
    source, target = np.array([[0, 3, 2, 3]]), np.array([[0, 3, 4, 3]])
    metric = sr.logit_difference(0, 1)
    with pytest.warns(UserWarning, match="tokens attend to those after them too. Each cell takes a whole forward pass"):
        found = sr.patch_tokens(known.lm, source, target, sr.grid("z"), metric)
    assert found.attrs["engine"] == "reference"
    # Head 1.1 at the first word reads the second, which comes after it: a replay would have held it to be unchanged.
    assert float(found.transfer.sel(layer=1, head=1, position=-3)[0]) == pytest.approx(1)
    assert float(found.transfer.sel(layer=2, head=0, position=-1)[0]) == pytest.approx(1)
    moved = sr.attribute_tokens(known.lm, source, target, sr.grid("z"), metric)
    assert float(moved.transfer.sel(layer=1, head=1, position=-3)[0]) == pytest.approx(1, abs=1e-3)
    with (
        pytest.warns(UserWarning, match="tokens attend to those after them too"),
        pytest.raises(SelfrepError, match="prefix that sees nothing after it; Tracr via attends both ways"),
    ):
        sr.patch_tokens(known.lm, source, target, sr.prefix_patch(), metric, suffix=2)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("causal", [True, False])
def test_every_attention_gives_the_same(tmp_path: Path, attention: str, causal: bool) -> None:
    folder = write_tracr(tmp_path / "via", arrays(via=True), config(causal=causal))
    first, other = tracr(folder).lm.hf, tracr(folder).lm.hf
    other.set_attn_implementation(attention)
    with torch.no_grad():
        torch.testing.assert_close(other(torch.tensor(drawn())).logits, first(torch.tensor(drawn())).logits)
