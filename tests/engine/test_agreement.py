"""Rounding is told from mistakes by what rounding does to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import CATCHING, log_odds, logits, tiny_hf, token_pair

from selfrep.engine.agreement import agree, root_mean_square, rounded_anew, unpatched_draws
from selfrep.engine.metrics import answer_log_odds
from selfrep.engine.plan import grid
from selfrep.engine.replay.baselines import record_sweep
from selfrep.engine.sweep import bind
from selfrep.models.loading import load_model

IDS = [3, 1, 4, 1, 5, 9, 2, 6]


def test_in_float32_each_number_is_within_the_tolerance() -> None:
    wanted = np.array([[2.0, -30.0], [0.0, 1.0]])
    assert agree(wanted * (1 + 5e-5), wanted)
    one = np.zeros_like(wanted)
    one[1, 0] = 2e-4
    assert not agree(wanted + one, wanted)
    assert not agree(wanted * np.nan, wanted)


def test_in_half_precision_all_numbers_of_a_metric_are_judged_together_by_its_own_noise() -> None:
    wanted, noise = np.zeros((4, 2)), np.array([0.1, 1e-3])
    one = np.zeros_like(wanted)
    one[0, 0] = 0.6  # six times the noise, but three in the root mean square
    assert agree(wanted + one, wanted, noise)
    assert not agree(wanted + 2 * one, wanted, noise)
    assert not agree(wanted + one[:, ::-1], wanted, noise)
    assert not agree(wanted * np.nan, wanted, noise)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounding_anew_moves_numbers_by_its_step_and_leaves_the_model(dtype: torch.dtype) -> None:
    lm = load_model(tiny_hf().to(dtype))
    before = logits(lm.hf, IDS)
    draws = []
    for seed in (0, 1, 0):
        with rounded_anew(lm, seed):
            draws.append(logits(lm.hf, IDS) - before)
    assert torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0], draws[1])
    size = float(draws[0].square().mean().sqrt() / before.square().mean().sqrt())
    assert 0.2 < size / torch.finfo(dtype).eps < 10
    assert torch.equal(logits(lm.hf, IDS), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", CATCHING)
def test_the_noise_is_as_large_as_what_it_explains(family: str, dtype: torch.dtype) -> None:
    """The recorded baselines, in a batch by selfrep's attention, against plain passes: no further than the limit, and
    not so near that the limit would pass anything."""
    lm = load_model(tiny_hf(family).to(dtype))
    pairs = [token_pair(k, systems=(3 + k % 4, 9 - k % 5), suffix=(2, 3, 2)) for k in range(8)]
    sweep = bind(lm, pairs, grid("resid_pre", layers=[0], positions=[-1]), answer_log_odds)
    noise = root_mean_square(unpatched_draws(lm, sweep, most=8))
    recorded = record_sweep(lm, sweep).baselines.target
    plain = np.array([[log_odds(logits(lm.hf, pair.target.ids)[-1], pair.answers)] for pair in pairs])
    assert agree(recorded, plain, noise)
    off = root_mean_square(recorded - plain)
    assert 0.1 * noise < off
    assert not agree(recorded + 8 * noise, plain, noise)
