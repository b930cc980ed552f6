"""What a sweep is said to take, against what it does."""

from __future__ import annotations

import numpy as np
import pytest
from tests.tiny import N_LAYERS, tiny, token_pair

from selfrep.engine import cost, schedule, unpatched
from selfrep.engine.metrics import logit_difference
from selfrep.engine.patch import patch
from selfrep.engine.plan import PlanUnion, grid, prefix_swap
from selfrep.engine.sweep import Sweep
from selfrep.errors import SelfrepError
from selfrep.prompts.alignment import align

PAIRS = [token_pair(k, systems=(5, 5), suffix=(2, 3, 2)) for k in range(3)]


def test_token_blocks_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Σ over cells (L, p): (N − L) · (T − p), where no walk is shared."""
    monkeypatch.setattr(schedule, "cost_model", lambda *_: schedule.CostModel((1, 100), (0.01, 1.0)))
    lm, batch = tiny(), align(PAIRS)
    told = grid("resid_pre").cost(lm, batch)
    assert told.cells == 3 * N_LAYERS * 7
    assert told.token_blocks == 3 * sum(n * t for n in range(1, N_LAYERS + 1) for t in range(1, 8))
    heads = grid("z", positions=[-1]).cost(lm, batch)
    assert heads.token_blocks == 3 * 4 * sum(range(N_LAYERS))  # they join behind their own block
    both = (grid("resid_pre") | grid("z", positions=[-1])).cost(lm, batch)
    assert both.token_blocks == told.token_blocks + heads.token_blocks
    assert both.cells == told.cells + heads.cells
    assert 0 < heads.seconds < told.seconds < both.seconds
    assert told.bytes > 0
    assert prefix_swap(layers=[0]).cost(lm, batch).token_blocks == 3 * N_LAYERS * 7


def test_recordings_take_what_was_said() -> None:
    lm, batch = tiny(), align(PAIRS)
    for plan in (grid("resid_pre"), grid("z"), grid("attn_out", positions=[-2]), prefix_swap()):
        plans = cost.bound(lm, PlanUnion((plan,)), batch)
        sweep = Sweep(batch, plans.plans, (logit_difference(1, 2),), (np.array([[[1], [2]]] * 3),), batch.source_ids,
                      batch.suffix)  # fmt: skip
        recorded = unpatched.record_sweep(lm, sweep)
        held = 0
        for recording in (recorded.donor, recorded.target):
            held += sum(x.nbytes for x in recording.residuals) + recording.final.nbytes
            held += sum(x.nbytes for layers in recording.sites.values() for x in layers)
            held += sum(k.nbytes + v.nbytes for k, v in recording.keys_values.values())
        said = 3 * cost.row_bytes(lm, plans, 12, sweep.width)
        assert held == pytest.approx(said, rel=0.35)


def test_a_budget_makes_batches_small() -> None:
    lm, batch = tiny(), align(PAIRS)
    plans = cost.bound(lm, PlanUnion((grid("resid_pre"),)), batch)
    one = cost.row_bytes(lm, plans, 12, 7)
    assert cost.batch_rows(lm, one, budget=2 * 5.5 * one) == 5
    assert cost.batch_rows(lm, one, budget=1.0) == 1
    assert cost.batch_rows(lm, one, budget=1e12) == cost.MOST_ROWS["cpu"]
    assert cost.budget_bytes(lm, 0.25) == 0.25e9
    assert cost.budget_bytes(lm, None) == 1e9
    with pytest.raises(SelfrepError, match="at least one pair"):
        patch(lm, PAIRS, grid("resid_pre"), batch_size=0)


def test_what_is_not_there_has_no_cost() -> None:
    with pytest.raises(SelfrepError, match="the plan asks for"):
        grid("z", heads=[4]).cost(tiny(), align(PAIRS))
