"""Profiles hold the numbers layer by layer, each beside its controls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.results.plots.lines import separation_profile
from selfrep.results.plots.maps import transfer_maps
from selfrep.results.plots.theme import CONTROLS

Maker = Callable[..., xr.Dataset]


def named(fig: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in fig.data if trace.name == name]


def test_separation_stands_beside_floor_null_and_control(separation: Maker) -> None:
    sep = separation()
    fig = separation_profile(sep)
    for name, variable in (
        ("“you are X”", "estimate"),
        ("“the user is X”", "user_is"),
        ("two wordings of one persona", "floor"),
        ("shuffled labels (95 % below)", "null_high"),
    ):
        (line,) = named(fig, name)
        np.testing.assert_array_equal(line.y, sep[variable].values[0, :, -1])
    own = named(fig, "interval")[-1]
    np.testing.assert_array_equal(own.y, [*sep.high.values[0, :, -1], *sep.low.values[0, ::-1, -1]])


def test_every_segment_has_a_panel_and_the_legend_one_entry_a_line(separation: Maker) -> None:
    fig = separation_profile(separation("segment"))
    assert len(named(fig, "“you are X”")) == 5
    shown = [trace.name for trace in fig.data if trace.showlegend]
    assert len(shown) == len(set(shown)) == 4


@pytest.mark.parametrize("where", [-2, [-2, -7]])
def test_places_can_be_chosen(separation: Maker, where: int | list[int]) -> None:
    sep = separation()
    lines = named(separation_profile(sep, where=where), "“you are X”")
    np.testing.assert_array_equal(lines[0].y, sep.estimate.sel(position=-2)[0])


def test_what_is_not_there_is_refused_or_said(separation: Maker) -> None:
    with pytest.raises(SelfrepError, match=r"no position -30.*-7"):
        separation_profile(separation(), where=-30)
    with pytest.raises(SelfrepError, match="no site 'z'"):
        separation_profile(separation(), site="z")
    empty = separation_profile(separation() * np.nan)
    assert "Not identified" in empty.layout.annotations[0].text


def test_gaps_break_lines_and_bands(separation: Maker) -> None:
    sep = separation()
    for name in sep.data_vars:
        sep[name][:, 1] = np.nan
    fig = separation_profile(sep)
    assert np.isnan(named(fig, "“you are X”")[0].y[1])
    assert [len(trace.x) for trace in named(fig, "interval")] == [2, 4, 2, 4], (
        "one layer, then two, for each of two bands"
    )


def test_transfer_of_segments_is_drawn_by_layer_with_grey_controls(transfer: Maker) -> None:
    moved = transfer("segment")
    fig = transfer_maps(moved)
    for i, direction in enumerate(("denoise", "noise")):
        lines = named(fig, direction)
        assert len(lines) == 5
        for j, line in enumerate(lines):
            np.testing.assert_array_equal(line.y, moved.estimate.values[i, :, j])
    for kind, (colour, dash) in CONTROLS.items():
        assert len({colour[1:3], colour[3:5], colour[5:7]}) == 1, "grey"
        assert {t.line.dash for t in named(fig, f"control: {kind}")} == {dash}
    shown = [trace.name for trace in fig.data if trace.showlegend]
    assert len(shown) == len(set(shown)) == 5
    assert not named(transfer_maps(moved.drop_vars("control_random")), "control: random")


def test_layers_stand_at_their_true_distance(separation: Maker) -> None:
    fig = separation_profile(separation())
    assert list(fig.data[-1].x) == [0, 1, 2, 5]
    assert dict(zip(fig.layout.xaxis.tickvals, fig.layout.xaxis.ticktext, strict=True))[5] == "5"
