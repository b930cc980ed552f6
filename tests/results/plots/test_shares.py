"""Shares are drawn where they stand, beside their control; what is not identified is named and not drawn."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from plotly.graph_objects import Figure, Scatter

from selfrep.results.plots.shares import binding_shares, bleed_shares


def named(fig: Figure, name: str) -> Scatter:
    (trace,) = (t for t in fig.data if t.name == name)
    return trace


def bound(shares: xr.Dataset) -> xr.Dataset:
    return shares.expand_dims(contrast=["between sides"], axis=1)


@pytest.mark.parametrize("draw", ["binding", "bleed"])
def test_every_identified_share_stands_at_its_value_with_its_interval(draw: str, shares: xr.Dataset) -> None:
    fig = binding_shares(bound(shares)) if draw == "binding" else bleed_shares(shares)
    marks = named(fig, "R" if draw == "binding" else "“you are X”")
    there = shares.gate.to_numpy()
    np.testing.assert_allclose(marks.x, shares.estimate.to_numpy()[there])
    np.testing.assert_allclose(np.add(marks.x, marks.error_x.array), shares.high.to_numpy()[there])
    np.testing.assert_allclose(np.subtract(marks.x, marks.error_x.arrayminus), shares.low.to_numpy()[there])
    if draw == "bleed":
        np.testing.assert_allclose(named(fig, "“the user is X”").x, shares.user_is.to_numpy()[there])


def test_what_is_not_identified_is_marked_with_its_reason_and_names_are_escaped(shares: xr.Dataset) -> None:
    fig = bleed_shares(shares)
    page = fig.to_json()
    assert "not identified" in page
    assert "&lt;0.2&gt; nats" in page
    assert "<script>" not in page


def test_where_nothing_is_identified_the_reason_is_all_there_is(shares: xr.Dataset) -> None:
    closed = shares.assign(gate=shares.gate & False, reason=("item", ["deaf"] * 4))
    for fig in (binding_shares(bound(closed)), bleed_shares(closed)):
        assert not fig.data
        assert "all third person: deaf" in fig.layout.annotations[0].text
