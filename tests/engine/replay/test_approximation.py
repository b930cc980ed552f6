"""An approximation is of a pair and its cells alone, whatever is run beside them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import tiny, tiny_hf, token_pair

from selfrep.engine.attribution import attribute
from selfrep.engine.plan import grid
from selfrep.engine.replay import approximation
from selfrep.models.loading import load_model


def test_neither_batches_nor_company_matter() -> None:
    lm = tiny("gemma2")
    pairs = [token_pair(k, systems=(3 + k, 8 - k), suffix=(1 + k % 3, 2, 1 + k % 2)) for k in range(4)]
    plan = grid("resid_mid") | grid("k")
    for options in ({}, {"ig_steps": 3}, {"method": "atp*"}):
        whole = attribute(lm, pairs, plan, **options)
        single = attribute(lm, pairs, plan, batch_size=1, **options)
        alone = attribute(lm, pairs, grid("k"), **options)
        np.testing.assert_allclose(single["resid_mid"].patched, whole["resid_mid"].patched, rtol=0, atol=1e-5)
        np.testing.assert_allclose(alone.patched, whole["k"].patched, rtol=0, atol=1e-5)


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, pairs = grid("k", layers=[1]), [token_pair(1), token_pair(2)]
    whole = attribute(tiny(), pairs, plan, method="atp*").patched
    monkeypatch.setattr(approximation, "MOST_TOKENS", 1)
    np.testing.assert_allclose(attribute(tiny(), pairs, plan, method="atp*").patched, whole, rtol=0, atol=1e-6)


def test_it_works_where_gradients_are_off_and_leaves_none_behind() -> None:
    lm, pairs = tiny_hf(), [token_pair(1)]
    lm = load_model(lm)
    before = attribute(lm, pairs, grid("resid_pre"))
    with torch.no_grad():
        np.testing.assert_allclose(attribute(lm, pairs, grid("resid_pre")).patched, before.patched, rtol=0, atol=1e-6)
    assert all(p.grad is None and not p.requires_grad for p in lm.hf.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in lm.hf.modules())
