"""Paths add up to the total and are drawn only where M is identified; slopes hold the cell means."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from tests.plots.reading import labels, named, rules
from tests.report.groups import GROUPS, decimals

from selfrep.analyses.mediation.figures import cue_by_stakes, mediation_paths
from selfrep.plots.theme import FAINT, OWN, PALETTE, SOFT


def texts(fig: go.Figure) -> str:
    return " ".join(str(note.text) for note in fig.layout.annotations)


def test_the_four_cells_are_drawn_as_two_slopes() -> None:
    raw = {"cue_by_stakes": 1.0, "cue_by_stakes_ci_low": 0.5, "cue_by_stakes_ci_high": 1.5}
    found = xr.Dataset(
        {"cells": (("cue", "stakes"), [[0.0, 2.0], [1.0, 4.0]])} | {name: ((), v) for name, v in raw.items()},
        coords={"cue": [0, 1], "stakes": [0, 1]},
        attrs={"n_scenarios": 8},
    )
    fig = cue_by_stakes(found)
    assert {trace.name: list(trace.y) for trace in fig.data} == {
        "something at stake": [2, 4],
        "nothing at stake": [0, 1],
    }
    assert "raw interaction 1 [0.5, 1.5] nats" in texts(fig)


def test_stakes_tell_the_lines_and_the_cue_their_ends() -> None:
    group = GROUPS["mediation"]
    fig = cue_by_stakes(group)
    for name, stakes, colour, dash in (("something at stake", 1, OWN, "solid"), ("nothing at stake", 0, SOFT, "dash")):
        line = named(fig, name)
        np.testing.assert_array_equal(line.y, group.cells.sel(stakes=stakes, cue=[0, 1]))
        assert (line.line.color, line.line.dash) == (colour, dash)
        assert [decimals(text)[0] for text in line.text] == list(line.y)
    assert labels(fig.layout.xaxis) == {0: "no cue", 1: "cue of fiction"}
    assert fig.layout.yaxis.title.text == "log odds of the behaviour (nats)"
    (said,) = (a.text for a in fig.layout.annotations if "raw interaction" in a.text)
    raw = ("cue_by_stakes", "cue_by_stakes_ci_low", "cue_by_stakes_ci_high")
    np.testing.assert_allclose(decimals(said), [float(group[k]) for k in raw])
    low, high = cue_by_stakes(group.assign(cells=group.cells * 0 + 2)).layout.yaxis.range
    assert (low, high) == (1.5, 2.5), "a hair is no slope"


@pytest.fixture
def paths() -> xr.Dataset:
    phi = np.array([[[1.0, 2.0, 0.5]], [[0.8, 2.2, 0.5]]])
    share = np.array([[1 / 3], [np.nan]])
    return xr.Dataset(
        dict.fromkeys(("phi", "phi_ci_low", "phi_ci_high"), (("order", "donor", "path"), phi))
        | dict.fromkeys(("estimate", "ci_low", "ci_high"), (("order", "donor"), share))
        | {"identified": (("order", "donor"), [[True], [False]])}
        | {"reason": (("order", "donor"), [[""], ["P is <idle>"]])}
        | {"random": (("order", "donor", "mediator"), np.full((2, 1, 2), 0.25))},
        coords={"order": ["P first", "S first"], "donor": ["both"], "path": ["P", "S", "direct"],
                "mediator": ["P", "S"]},
    )  # fmt: skip


def test_bars_stack_to_the_total_in_either_order(paths: xr.Dataset) -> None:
    fig = mediation_paths(paths)
    assert [bar.name for bar in fig.data] == ["through the fictional AI", "through self and goals", "through neither"]
    np.testing.assert_allclose(np.sum([bar.x for bar in fig.data], axis=0), 3.5)
    said = [str(note.text) for note in fig.layout.annotations]
    assert said[0].startswith("M = 0.333")
    assert "not identified: P is &lt;idle&gt;" in said[1]
    assert all("random subspaces reach 0.25, 0.25 nats" in text for text in said)


def test_no_bar_is_drawn_where_no_order_is_identified(paths: xr.Dataset) -> None:
    closed = paths.assign(
        identified=paths.identified & False, reason=paths.reason.where(~paths.identified, "too small")
    )
    fig = mediation_paths(closed)
    assert not fig.data
    assert "Not identified" in fig.layout.annotations[0].text


def test_each_order_has_its_bar_its_paths_and_its_m() -> None:
    group = GROUPS["mediation"]
    fig, at = mediation_paths(group), group.sel(donor="both")
    rows = {"P first": 1.0, "S first": 0.0}
    assert labels(fig.layout.yaxis) == {1: "fiction whole,<br>self without it", 0: "self whole,<br>fiction without it"}
    assert fig.layout.barmode == "relative"
    for name, path, colour in (
        ("through the fictional AI", "P", PALETTE[2]),
        ("through self and goals", "S", OWN),
        ("through neither", "direct", FAINT),
    ):
        bar, phi = named(fig, name), at.sel(path=path)
        np.testing.assert_array_equal(bar.x, phi.phi)
        assert (list(bar.y), bar.orientation, bar.base) == (list(rows.values()), "h", None)
        assert bar.marker.color == colour
        for k, order in enumerate(rows):
            said = [float(phi[v][k]) for v in ("phi", "phi_ci_low", "phi_ci_high")]
            np.testing.assert_allclose(decimals(bar.text[k]), said, rtol=1e-9)
            assert bar.text[k] == bar.text[k].split(" nats</b>, ")[0] + f" nats</b>, {order}"
    for said, (order, y) in zip(fig.layout.annotations, rows.items(), strict=True):
        one = at.sel(order=order)
        expected = [float(one[v]) for v in ("estimate", "ci_low", "ci_high")]
        expected += [float(one.random.sel(mediator=m)) for m in ("P", "S")]
        np.testing.assert_allclose(decimals(said.text), expected, rtol=1e-9)
        assert y + 0.25 <= said.y < y + 0.5, "above its own bar"
    assert rules(fig) == {("x", 0.0)}
    assert fig.layout.xaxis.title.text == "change of the log odds of the behaviour (nats)"
