"""The slow way: architectures that only it can patch, against hooks written by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tests.tiny import N_LAYERS, PLAIN, logits, patched_differences, ragged, tiny, tiny_hf

from selfrep.engine import reference
from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.models.loading import load_model

IDS = [3, 1, 4, 1, 5, 9, 2, 6]
METRIC = logit_difference(7, 9)
SOURCE, TARGET = ragged([9, 7], seed=1), ragged([8, 8], seed=2)
SITES = {
    "gpt_neo": ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"),
    "bloom": ("resid_pre", "resid_post"),  # its attention and MLP add the stream themselves
    "mamba": ("resid_pre", "resid_post"),
}
EVERY = [(family, site) for family, sites in SITES.items() for site in sites]


@pytest.mark.parametrize(("family", "site"), EVERY)
def test_what_cannot_be_replayed_is_run_in_full_and_says_so(family: str, site: str) -> None:
    lm, positions = tiny(family), (-8, -1)
    with pytest.warns(UserWarning, match=rf"{lm.layout.architecture}.*whole forward pass.*slow") as told:
        effects = patch_tokens(lm, SOURCE, TARGET, grid(site, positions=positions), METRIC, batch_size=1)
    assert len(told) == 1  # not once a batch
    assert effects.attrs["engine"] == "reference"
    wanted = patched_differences(lm.hf, family, site, SOURCE, TARGET, positions)
    np.testing.assert_allclose(effects.patched, wanted, rtol=1e-5, atol=1e-5)
    assert np.isnan(wanted).sum() == N_LAYERS  # the shorter source has no eighth token
    assert np.nanmax(np.abs(wanted - effects.target_metric.values[:, None, None])) > 0.005
    with pytest.warns(UserWarning, match="slow"):
        effects = patch_tokens(lm, SOURCE, TARGET, grid(site, positions=positions), METRIC)
    np.testing.assert_allclose(effects.patched, wanted, rtol=1e-5, atol=1e-5)
    for name, ids in (("source", SOURCE), ("target", TARGET)):  # of every pair of a batch, not of its last alone
        own = [logits(lm.hf, row[row >= 0])[-1] for row in ids]
        np.testing.assert_allclose(effects[f"{name}_metric"], [float(x[7] - x[9]) for x in own], rtol=1e-5, atol=1e-5)


def test_what_can_be_replayed_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        effects = patch_tokens(tiny(), SOURCE, TARGET, grid("resid_pre", positions=[-1]), METRIC)
    assert effects.attrs["engine"] == "replay"


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi", "cohere", "granite"])
@torch.no_grad()
def test_half_precision_unembeds_in_float32(family: str) -> None:
    """Soft caps, scales and biases included; by the reference and by what the replay reads alike."""
    hf = tiny_hf(family).to(torch.bfloat16)
    lm = load_model(hf)
    heard: list[torch.Tensor] = []
    hook = hf.lm_head.register_forward_pre_hook(lambda _, args: heard.append(args[0]))  # type: ignore[union-attr]
    half = logits(hf, IDS)[-1]
    hook.remove()
    exact = tiny_hf(family)
    exact.lm_head.load_state_dict({k: v.float() for k, v in hf.lm_head.state_dict().items()})  # type: ignore[union-attr]
    replaced = exact.lm_head.register_forward_pre_hook(lambda *_: (heard[0].float(),))  # type: ignore[union-attr]
    wanted = logits(exact, IDS)[-1]  # the architecture's own code after its unembedding, on what the model unembeds
    replaced.remove()
    assert (half - wanted).abs().max() > 1e-3
    torch.testing.assert_close(reference.logits(lm, np.array(IDS))[0], wanted, rtol=1e-5, atol=1e-5)
    residual = reference.activations(lm, np.array(IDS), [("resid_post", N_LAYERS - 1)])["resid_post", N_LAYERS - 1][-1]
    torch.testing.assert_close(lm.logits(residual), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(lm.logits(residual, torch.tensor([9, 3])), wanted[[9, 3]], rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(hf, IDS)[-1], half)  # and leaves the model as it was


def test_every_architecture_without_replay_is_tried() -> None:
    assert set(SITES) == set(PLAIN)
