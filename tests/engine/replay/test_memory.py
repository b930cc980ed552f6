"""What recordings are said to hold, against what they hold; and budgets that make batches small."""

from __future__ import annotations

import pytest
import torch
from tests.tiny import tiny, tiny_hf, token_pair

from selfrep.engine.metrics import answer_log_odds
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid, prefix_patch
from selfrep.engine.replay import memory
from selfrep.engine.replay.baselines import record_sweep
from selfrep.engine.sweep import bind
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model

PAIRS = [token_pair(k, systems=(5, 5), suffix=(2, 3, 2)) for k in range(3)]


def test_recordings_hold_what_was_said() -> None:
    lm = tiny()
    for plan in (grid("resid_pre"), grid("z"), grid("attn_out", positions=[-2]), prefix_patch()):
        sweep = bind(lm, PAIRS, plan, answer_log_odds)
        unpatched = record_sweep(lm, sweep)
        held = 0
        for recording in (unpatched.donor, unpatched.target):
            held += sum(x.nbytes for x in recording.residuals) + recording.final.nbytes
            held += sum(x.nbytes for layers in recording.sites.values() for x in layers)
            held += sum(k.nbytes + v.nbytes for k, v in recording.keys_values.values())
        said = 3 * memory.row_bytes(lm, sweep.plans, 12, sweep.width)
        assert held == pytest.approx(said, rel=0.35)


def test_a_budget_makes_batches_small() -> None:
    lm = tiny()
    sweep = bind(lm, PAIRS, grid("resid_pre"), answer_log_odds)
    one = memory.row_bytes(lm, sweep.plans, 12, 7)
    assert memory.batch_rows(lm, one, budget=2 * 5.5 * one) == 5
    assert memory.batch_rows(lm, one, budget=1.0) == 1
    assert memory.batch_rows(lm, one, budget=1e12) == memory.MOST_ROWS["cpu"]
    assert memory.budget_bytes(lm, 0.25) == 0.25e9
    assert memory.budget_bytes(lm, None) == 1e9
    with pytest.raises(SelfrepError, match="at least one pair"):
        patch(lm, PAIRS, grid("resid_pre"), batch_size=0)


@pytest.mark.parametrize(("most", "used", "budget"), [(24e9, 4e9, 10e9), (8e9, 9e9, 0.0)])
def test_on_mps_the_budget_is_half_of_what_is_free(
    most: float, used: float, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: most)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: used)
    monkeypatch.setattr(LanguageModel, "device", torch.device("mps"))
    lm = load_model(tiny_hf())
    assert memory.budget_bytes(lm, None) == budget
    assert memory.budget_bytes(lm, 3.0) == 3e9
    assert memory.batch_rows(lm, 1e8, budget) == (50 if budget else 1)


def test_what_did_not_fit_is_remembered_for_the_model_alone() -> None:
    lm, other = load_model(tiny_hf()), load_model(tiny_hf())
    memory.remember_chunk(lm, 40)
    memory.remember_chunk(lm, 60)  # more than did not fit before
    assert memory.chunk_tokens(lm, 100) == 40
    assert memory.chunk_tokens(lm, 10) == 10
    assert memory.chunk_tokens(other, 100) == 100
    memory.remember_room(lm, 300.0)
    assert memory.batch_rows(lm, 100.0, budget=1e9) == 3
    assert memory.batch_rows(lm, 1000.0, budget=1e9) == 1
    assert memory.batch_rows(other, 100.0, budget=1e9) == memory.MOST_ROWS["cpu"]
