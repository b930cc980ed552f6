"""The slow way: architectures that only it can patch, against hooks written by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from tests.tiny import N_LAYERS, PLAIN, logits, patched_differences, ragged, tiny

from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid

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


def test_every_architecture_without_replay_is_tried() -> None:
    assert set(SITES) == set(PLAIN)
