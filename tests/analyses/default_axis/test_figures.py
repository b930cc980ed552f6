"""Everybody is placed on the axis of the layer."""

from __future__ import annotations

import numpy as np
import xarray as xr
from plotly.graph_objects import Figure, Scatter
from tests.plots.reading import ends, labels, legend, named, note, rules
from tests.report.groups import GROUPS, decimals

from selfrep.analyses.default_axis.figures import default_strip
from selfrep.plots.theme import CONTROL, colours


def traces(fig: Figure, name: str) -> list[Scatter]:
    return [t for t in fig.data if t.name == name]


def test_everybody_is_placed_on_the_axis(axis: xr.Dataset) -> None:
    fig = default_strip(axis, 3)
    placed = axis.estimate.isel(site=0, position=0).sel(layer=3)
    for name, condition in (("“you are X”", "you"), ("“the user is X”", "user"), ("no persona", "neutral")):
        (marks,) = traces(fig, name)
        np.testing.assert_allclose(marks.x, placed.to_numpy()[axis.condition.to_numpy() == condition])
    assert "<script>" not in fig.to_json()
    assert "no &lt;axis&gt;" in default_strip(axis, 0).layout.annotations[0].text


YOU, USER = ("estimate", "ci_low", "ci_high"), ("user_is", "user_is_ci_low", "user_is_ci_high")


def test_the_strip_is_that_of_its_layer_with_intervals_between_mean_role_and_default() -> None:
    group = GROUPS["default_axis"]
    fig = default_strip(group, 3)
    cell = group.sel(site="resid_pre", layer=3, position=-1)
    rows = {"unprompted": 2.0, "default": 1.0, "fictional_ai": 0.0}
    assert labels(fig.layout.yaxis) == {2: "no persona", 1: "the default", 0: "fictional AIs"}
    inks = colours(["fictional_ai", "default"])
    for name, condition, up, symbol in (
        ("“you are X”", "you", 0.1, "circle"),
        ("“the user is X”", "user", -0.2, "diamond-open"),
        ("no persona", "neutral", 0.0, "circle"),
    ):
        marks, mine = named(fig, name), cell.isel(who=group.condition.values == condition)
        np.testing.assert_allclose(marks.x, mine.estimate)
        np.testing.assert_allclose(marks.y, [rows[kind] + up for kind in mine.kind.values])
        low, high = ends(marks)
        np.testing.assert_allclose(low, mine.estimate if condition == "user" else mine.ci_low)
        np.testing.assert_allclose(high, mine.estimate if condition == "user" else mine.ci_high)
        assert marks.marker.symbol == symbol
        for colour, kind in zip(marks.marker.color, mine.kind.values, strict=True):
            assert colour == (CONTROL if condition == "user" else inks.get(str(kind), "#8a8a8a"))
        for text, k in zip(marks.text, range(mine.sizes["who"]), strict=True):
            np.testing.assert_allclose(decimals(text), [float(mine[key][k]) for key in YOU])
            assert str(mine.who.values[k]) in text
    assert set(legend(fig)) == {"“you are X”", "“the user is X”"}
    assert rules(fig) == {("x", 0.0), ("x", 1.0)}
    assert (note(fig, "mean role").x, note(fig, "default").x) == (0, 1)
    assert fig.layout.xaxis.title.text == "λ"
    assert "resid_pre · layer 3 · last token" in fig.layout.title.text
