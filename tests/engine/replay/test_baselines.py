"""The unpatched runs of a sweep answer as the plain model does, however many logits are held at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny import log_odds, logits, tiny, token_pair

from selfrep.engine.metrics import answer_log_odds, logit_difference
from selfrep.engine.plan import grid
from selfrep.engine.replay import baselines
from selfrep.engine.replay.baselines import read_metrics, record_ids, record_sweep
from selfrep.engine.sweep import bind

PAIRS = [token_pair(k, systems=(4 + k, 6), suffix=(2, 3, 2)) for k in range(3)]


def test_every_pair_has_its_own_answers_and_what_they_weigh() -> None:
    lm = tiny()
    unpatched = record_sweep(lm, bind(lm, PAIRS, grid("resid_pre"), [answer_log_odds, logit_difference(7, 9)]))
    own = unpatched.baselines
    for i, pair in enumerate(PAIRS):
        last = {"source": logits(lm.hf, pair.source.ids)[-1], "target": logits(lm.hf, pair.target.ids)[-1]}
        answers = [token for side in pair.answers for token in side]
        for end, values, mass in (
            ("source", own.source, own.source_mass),
            ("target", own.target, own.target_mass),
        ):
            wanted = [log_odds(last[end], pair.answers), float(last[end][7] - last[end][9])]
            np.testing.assert_allclose(values[i], wanted, atol=1e-4)
            assert mass is not None
            assert float(mass[i]) == pytest.approx(float(last[end].softmax(-1)[answers].sum()), abs=1e-5)
        np.testing.assert_allclose(own.total[i], own.source[i] - own.target[i], atol=1e-4)


def test_metrics_do_not_depend_on_how_many_logits_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny()
    unpatched = record_sweep(lm, bind(lm, PAIRS, grid("resid_pre"), [answer_log_odds, logit_difference(7, 9)]))
    ends = torch.randn(5, *unpatched.target.final.shape, generator=torch.Generator().manual_seed(0))
    whole = read_metrics(lm, unpatched.readings, ends)
    monkeypatch.setattr(baselines, "MOST_LOGITS", 1)
    np.testing.assert_allclose(read_metrics(lm, unpatched.readings, ends), whole, atol=1e-5)
    assert whole.shape == (5, len(PAIRS), 2)
    assert len(np.unique(whole.round(3))) > 20, "the control: entries differ"


def test_prompts_shorter_than_what_is_kept_are_padded_and_end_as_they_do_alone() -> None:
    lm = tiny()
    ids = np.array([[-1, -1, 5, 6], [1, 2, 3, 4]])
    kept = record_ids(lm, ids, 6, ())
    assert kept.final.shape[:2] == (2, 6)
    for row, prompt in enumerate(([5, 6], [1, 2, 3, 4])):
        torch.testing.assert_close(
            lm.logits(kept.final[row, -1:])[0], logits(lm.hf, prompt)[-1].to(lm.dtype), atol=1e-4, rtol=1e-4
        )
