"""What unpatched prompts answer by themselves, and metrics read off many runs at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny import log_odds, logits, ragged, tiny, token_pair

from selfrep.engine.metrics import answer_log_odds, kl_divergence, logit_difference
from selfrep.engine.plan import grid
from selfrep.engine.replay import baselines
from selfrep.engine.replay.baselines import read_metrics, record_ids, record_sweep
from selfrep.engine.sweep import bind

PAIRS = [token_pair(k, systems=(3 + k, 6 - k), suffix=(2, 3, 1 + k)) for k in range(3)]
REVERSE = replace(logit_difference(9, 7), name="reverse")
METRICS = [answer_log_odds, logit_difference(7, 9), kl_divergence("source"), REVERSE]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_baselines_are_what_each_prompt_says_alone(family: str) -> None:
    lm = tiny(family)
    ends = record_sweep(lm, bind(lm, PAIRS, grid("resid_pre"), answer_log_odds)).baselines
    for i, pair in enumerate(PAIRS):
        odds, masses = [], []
        for tokens in (pair.source, pair.target):
            last = logits(lm.hf, tokens.ids)[-1]
            odds.append(log_odds(last, pair.answers))
            masses.append(float(last.softmax(-1)[[t for side in pair.answers for t in side]].sum()))
        assert (ends.source[i, 0], ends.target[i, 0]) == pytest.approx(odds, abs=1e-4)
        assert ends.total[i, 0] == pytest.approx(odds[0] - odds[1], abs=2e-4)
        assert ends.source_mass is not None
        assert ends.target_mass is not None
        assert (ends.source_mass[i], ends.target_mass[i]) == pytest.approx(masses, abs=1e-5)
    assert np.ptp(ends.target) > 0.1


def test_a_control_is_measured_on_the_scale_of_the_real_pair() -> None:
    lm, real = tiny(), PAIRS[0]
    control = replace(real, control="random", source=real.target, reference=real.source)
    ends = record_sweep(lm, bind(lm, [real, control], grid("resid_pre"), answer_log_odds)).baselines
    assert ends.source[1] == pytest.approx(ends.target[0], abs=1e-5)
    assert ends.total[1] == pytest.approx(ends.total[0], abs=1e-4)
    assert abs(ends.total[0, 0]) > 0.01


def test_neither_company_nor_portions_change_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny()
    unpatched = record_sweep(lm, bind(lm, PAIRS, grid("resid_pre"), METRICS))
    ends = torch.stack([unpatched.target.final, unpatched.donor.final[:, -unpatched.target.final.shape[1] :]])
    ends = ends[:, :, -4:]
    whole = read_metrics(lm, unpatched.readings, ends).numpy()
    assert whole.shape == (2, 3, 4)
    np.testing.assert_allclose(whole[..., 1], -whole[..., 3], atol=1e-5)
    for m, reading in enumerate(unpatched.readings):
        np.testing.assert_allclose(read_metrics(lm, [reading], ends)[..., 0].numpy(), whole[..., m], atol=1e-5)
    monkeypatch.setattr(baselines, "MOST_LOGITS", 1)
    np.testing.assert_allclose(read_metrics(lm, unpatched.readings, ends).numpy(), whole, atol=1e-5)


def test_prompts_shorter_than_what_is_kept_are_padded() -> None:
    lm, ids = tiny(), ragged([4, 3], seed=1).numpy()
    kept = record_ids(lm, ids, 6, ["attn_out"])
    alone = record_ids(lm, ids, 4, ["attn_out"])
    assert (kept.width, kept.residuals[0].shape[1]) == (6, 6)
    torch.testing.assert_close(kept.residuals[-1][0, -4:], alone.residuals[-1][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        kept.sites["attn_out"][1][1, -3:], alone.sites["attn_out"][1][1, -3:], rtol=1e-4, atol=1e-4
    )
