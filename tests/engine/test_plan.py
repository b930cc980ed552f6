"""Grids are data: what they hold, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfrep.engine.interventions import Steer
from selfrep.engine.plan import SEGMENT_CELLS, PatchCell, grid, prefix_patch
from selfrep.errors import SelfrepError
from selfrep.models.sites import SITES


@given(n_layers=st.integers(1, 6), suffix=st.integers(1, 9))
def test_a_bare_grid_is_every_layer_and_position(n_layers: int, suffix: int) -> None:
    plan = grid("resid_pre").bind(n_layers, suffix)
    assert plan.cells == tuple(PatchCell(plan, layer, p) for layer in range(n_layers) for p in range(-suffix, 0))
    assert {cell.site for cell in plan.cells} == {"resid_pre"}


def test_a_grid_keeps_what_it_is_given() -> None:
    plan = grid("mlp_out", layers=[2, 0], positions=[-1, -3])
    assert plan.bind(3, 4) == plan
    assert [(c.layer, c.where) for c in plan.cells] == [(2, -1), (2, -3), (0, -1), (0, -3)]
    assert grid("resid_pre", by="segment").bind(1, 1).where == SEGMENT_CELLS
    assert grid("resid_pre", segments=["last", "question"]).bind(1, 1).where == ("last", "question")
    assert plan == grid("mlp_out", layers=(2, 0), positions=iter([-1, -3]))
    assert hash(plan) == hash(grid("mlp_out", layers=(2, 0), positions=(-1, -3)))


def test_a_plan_that_is_not_bound_has_no_cells_yet() -> None:
    assert grid("resid_pre").cells == ()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"site": "resid_past"}, "A site is one of resid_pre, .*'resid_past'"),
        ({"site": "resid_pre", "segments": ["answer"]}, r"A segment is one of all, .*'answer'"),
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
        grid("resid_pre", **asked).bind(3, 5)
    assert grid("resid_pre", layers=[2], positions=[-5]).bind(3, 5).cells


def test_components_are_cells_of_their_own() -> None:
    plan = grid("z", layers=[1], positions=[-1]).bind(3, 4, 2)
    assert plan.cells == (PatchCell(plan, 1, -1, 0), PatchCell(plan, 1, -1, 1))
    assert plan.axes == {"layer": (1,), "position": (-1,), "head": (0, 1)}
    assert plan.shape == (1, 1, 2)
    neurons = grid("mlp_post", neurons=[5], segments=["all"]).bind(1, 4, 8)
    assert neurons.axes == {"layer": (0,), "segment": ("all",), "neuron": (5,)}
    assert grid("resid_pre").bind(1, 1).components is None


def test_plans_are_joined_in_order_and_keep_names_of_their_own() -> None:
    plans = grid("resid_pre") | grid("z") | (grid("resid_pre", by="segment") | grid("resid_pre"))
    assert [plan.site for plan in plans.plans] == ["resid_pre", "z", "resid_pre", "resid_pre"]
    assert plans.names == ("resid_pre", "z", "resid_pre segment", "resid_pre (2)")
    steered = grid("z", intervention=Steer([1.0], 2.0)) | prefix_patch()
    assert steered.names == ("z steer × 2", "prefix_kv")


@pytest.mark.parametrize(
    ("window", "layer", "layers"),
    [("from", 1, [1, 2, 3]), ("before", 1, [0]), ("before", 0, []), (2, 1, [1, 2]), (2, 3, [3])],
)
def test_a_window_says_which_layers_read_the_other_prefix(window: str | int, layer: int, layers: list[int]) -> None:
    plan = prefix_patch(window=window)
    assert list(plan.source_layers(layer, 4)) == layers
    assert plan.first_block(layer, 4) == (layers[0] if layers else 4)
    cell = PatchCell(plan, layer, "prefix")
    assert cell.is_prefix
    assert (list(cell.source_layers(4)), cell.first_block(4)) == (layers, plan.first_block(layer, 4))


def test_runs_join_where_they_first_differ() -> None:
    joins = {site: grid(site, **({"neurons": [0]} if site == "mlp_post" else {})).first_block(2, 9) for site in SITES}
    assert {site for site, block in joins.items() if block == 2} == {"resid_pre", "k", "v"}
    assert set(joins.values()) == {2, 3}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"site": "resid_pre", "heads": [0]}, "resid_pre has none"),
        ({"site": "z", "neurons": [0]}, "z has none"),
        ({"site": "mlp_post"}, "Say which neurons"),
        ({"site": "z", "heads": []}, "empty"),
        ({"site": "z", "segments": {"all": [-1]}}, "name of its own"),
        ({"site": "z", "segments": {"mine": []}}, "name of its own"),
    ],
)
def test_components_and_sets_that_mean_nothing_are_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        grid(**asked)


def test_binding_refuses_components_and_sets_that_are_not_there() -> None:
    with pytest.raises(SelfrepError, match=r"A head at q is one of 0 … 3 in this model; the plan asks for \[4\]"):
        grid("q", heads=[0, 4]).bind(1, 1, 4)
    with pytest.raises(SelfrepError, match=r"The plan asks for \[-3\]"):
        grid("q", segments={"far": [-1, -3]}).bind(1, 2, 4)
    with pytest.raises(SelfrepError, match="A window is"):
        prefix_patch(window=0)
    with pytest.raises(SelfrepError, match="at least one layer"):
        prefix_patch(layers=[])
