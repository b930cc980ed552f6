"""Grids are data: what they hold, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfrep.engine.plan import SEGMENT_CELLS, Cell, grid
from selfrep.errors import SelfrepError


@given(n_layers=st.integers(1, 6), suffix=st.integers(1, 9))
def test_a_bare_grid_is_every_layer_and_position(n_layers: int, suffix: int) -> None:
    cells = grid("resid_pre").bound(n_layers, suffix).cells
    assert cells == tuple(Cell("resid_pre", layer, p) for layer in range(n_layers) for p in range(-suffix, 0))


def test_a_grid_keeps_what_it_is_given() -> None:
    plan = grid("mlp_out", layers=[2, 0], positions=[-1, -3])
    assert plan.bound(3, 4) == plan
    assert [(c.layer, c.where) for c in plan.cells] == [(2, -1), (2, -3), (0, -1), (0, -3)]
    assert grid("resid_pre", by="segment").bound(1, 1).where == SEGMENT_CELLS
    assert grid("resid_pre", segments=["last", "question"]).bound(1, 1).where == ("last", "question")
    assert plan == grid("mlp_out", layers=(2, 0), positions=iter([-1, -3]))
    assert hash(plan) == hash(grid("mlp_out", layers=(2, 0), positions=(-1, -3)))


def test_a_plan_that_is_not_bound_has_no_cells_yet() -> None:
    assert grid("resid_pre").cells == ()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"site": "resid_past"}, "A site is one of resid_pre, .*'resid_past'"),
        ({"site": "resid_pre", "segments": ["answer"]}, r"A segment is one of all, .*\['answer'\]"),
        ({"site": "resid_pre", "segments": ["last"], "positions": [-1]}, "not both"),
        ({"site": "resid_pre", "by": "segment", "positions": [-1]}, "not both"),
        ({"site": "resid_pre", "layers": []}, "empty"),
        ({"site": "resid_pre", "positions": []}, "empty"),
        ({"site": "resid_pre", "segments": []}, "empty"),
    ],
)
def test_grids_that_mean_nothing_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        grid(**asked)


@pytest.mark.parametrize("asked", [{"layers": [3]}, {"layers": [-1]}, {"positions": [0]}, {"positions": [-6]}])
def test_binding_refuses_cells_that_are_not_there(asked: dict[str, list[int]]) -> None:
    with pytest.raises(SelfrepError, match="plan asks for"):
        grid("resid_pre", **asked).bound(3, 5)
    assert grid("resid_pre", layers=[2], positions=[-5]).bound(3, 5).cells
