"""Shares are drawn where they stand; what is not identified is named and not drawn."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from tests.plots.reading import ends, named, note

from selfrep.plots import shares as shape
from selfrep.plots.theme import OWN


def draw(shares: xr.Dataset) -> go.Figure:
    kinds = [shape.marks(shares, ["the words of hover"] * 4, "R", OWN, "circle")]
    return shape.draw(shares, kinds, title="t", subtitle="", ends=("none", "all"), axis="R", caption="c")


def test_every_identified_share_stands_at_its_value_with_its_interval(shares: xr.Dataset) -> None:
    marks = named(draw(shares), "R")
    there = shares.identified.to_numpy()
    for numbers, key in zip((marks.x, *ends(marks)), ("estimate", "ci_low", "ci_high"), strict=True):
        np.testing.assert_allclose(numbers, shares[key].to_numpy()[there])
    assert all(text.endswith(", R<br>the words of hover") for text in marks.text)


def test_what_is_not_identified_is_marked_with_its_reason_and_names_are_escaped(shares: xr.Dataset) -> None:
    page = draw(shares).to_json()
    assert "not identified" in page
    assert "&lt;0.2&gt; nats" in page
    assert "<script>" not in page


def test_where_nothing_is_identified_the_reason_is_all_there_is(shares: xr.Dataset) -> None:
    fig = draw(shares.assign(identified=shares.identified & False, reason=("item", ["deaf"] * 4)))
    assert not fig.data
    assert "all third person: deaf" in fig.layout.annotations[0].text


def test_the_axis_holds_both_ends_and_every_interval(shares: xr.Dataset) -> None:
    for shift in (0.0, 3.0, -3.0):
        moved = shares.assign(ci_low=shares.ci_low + min(shift, 0), ci_high=shares.ci_high + max(shift, 0))
        fig = draw(moved)
        low, high = fig.layout.xaxis.range
        assert low < min(0, float(moved.ci_low.min())) < max(1, float(moved.ci_high.max())) < high
        assert (note(fig, "none").x, note(fig, "all").x) == (0, 1)
