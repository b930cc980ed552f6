"""What a sweep is said to take, against what it does."""

from __future__ import annotations

import pytest
from tests.tiny import N_LAYERS, tiny, token_pair

import selfrep as sr
from selfrep.engine.cost import Cost, cost
from selfrep.engine.plan import grid, prefix_patch
from selfrep.engine.replay import schedule
from selfrep.errors import SelfrepError

PAIRS = [token_pair(k, systems=(5, 5), suffix=(2, 3, 2)) for k in range(3)]


def test_token_blocks_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Σ over cells (L, p): (N − L) · (T − p), where no walk is shared."""
    monkeypatch.setattr(schedule, "cost_model", lambda *_: schedule.CostModel((1, 100), (0.01, 1.0)))
    lm = tiny()
    stream = cost(lm, grid("resid_pre"), PAIRS)
    assert stream.cells == 3 * N_LAYERS * 7
    assert stream.token_blocks == 3 * sum(n * t for n in range(1, N_LAYERS + 1) for t in range(1, 8))
    heads = cost(lm, grid("z", positions=[-1]), PAIRS)
    assert heads.token_blocks == 3 * 4 * sum(range(N_LAYERS))  # they join behind their own block
    both = cost(lm, grid("resid_pre") | grid("z", positions=[-1]), PAIRS)
    assert both.token_blocks == stream.token_blocks + heads.token_blocks
    assert both.cells == stream.cells + heads.cells
    assert 0 < heads.seconds < stream.seconds < both.seconds
    assert stream.bytes > 0
    assert cost(lm, prefix_patch(layers=[0]), PAIRS).token_blocks == 3 * N_LAYERS * 7


def test_the_cost_is_public_and_takes_what_patch_takes() -> None:
    told = sr.cost(tiny(), sr.grid("resid_pre", positions=[-1]), PAIRS, batch_size=2)
    assert isinstance(told, Cost)
    assert told.cells == len(PAIRS) * N_LAYERS


def test_what_is_not_there_has_no_cost() -> None:
    with pytest.raises(SelfrepError, match="the plan asks for"):
        cost(tiny(), grid("z", heads=[4]), PAIRS)
    with pytest.raises(SelfrepError, match="nothing to align"):
        cost(tiny(), grid("resid_pre"), [])
