"""Profiles hold the numbers layer by layer, each beside its controls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from tests.plots.reading import labels, legend, note, rules
from tests.plots.reading import named as one
from tests.report.groups import GROUPS, LAYERS, decimals

from selfrep.errors import SelfrepError
from selfrep.plots.lines import separation_profile
from selfrep.plots.maps import transfer_maps
from selfrep.plots.theme import CONTROL, CONTROLS, DIRECTIONS, NULL, OWN

Maker = Callable[..., xr.Dataset]


def named(fig: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in fig.data if trace.name == name]


def test_separation_stands_beside_floor_null_and_control(separation: Maker) -> None:
    sep = separation()
    fig = separation_profile(sep)
    for name, variable in (
        ("“you are X”", "estimate"),
        ("“the user is X”", "user_is"),
        ("two paraphrases of one persona", "noise_floor"),
        ("shuffled labels (95 % below)", "null_high"),
    ):
        (line,) = named(fig, name)
        np.testing.assert_array_equal(line.y, sep[variable].values[0, :, -1])
    own = named(fig, "interval")[-1]
    np.testing.assert_array_equal(own.y, [*sep.ci_high.values[0, :, -1], *sep.ci_low.values[0, ::-1, -1]])


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


def band(fig: go.Figure, colour: str, panel: str) -> tuple[list[float], list[float]]:
    """Low and high end of the one band of this colour in a panel, from the first layer to the last."""
    tint = f"rgba({','.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))},0.16)"
    (found,) = (t for t in fig.data if t.name == "interval" and t.fillcolor == tint and (t.xaxis or "x") == panel)
    n = len(found.x) // 2
    assert list(found.x[:n]) == list(found.x[n:])[::-1] == LAYERS
    return list(found.y[n:])[::-1], list(found.y[:n])


def test_a_profile_holds_its_place_with_bands_rules_and_looks() -> None:
    sep = GROUPS["separation"]
    fig = separation_profile(sep, where=[-1, -2], site="resid_post")
    assert legend(fig) == [
        "shuffled labels (95 % below)", "two paraphrases of one persona", "“the user is X”", "“you are X”",
    ]  # fmt: skip
    assert rules(fig) == {("y", 0.0), ("y2", 0.0)}
    for panel, place, heading in (("x", -1, "position −1 “a”"), ("x2", -2, "position −2 “am”")):
        at = sep.sel(site="resid_post", position=place)
        assert note(fig, f"<b>{heading}</b>").xref == f"{panel} domain"
        assert labels(fig.layout[panel.replace("x", "xaxis")]) == {k: str(k) for k in range(5)}
        for name, key, colour, dash in (
            ("“you are X”", "estimate", OWN, "solid"),
            ("“the user is X”", "user_is", CONTROL, "solid"),
            ("two paraphrases of one persona", "noise_floor", NULL, "dash"),
            ("shuffled labels (95 % below)", "null_high", NULL, "dot"),
        ):
            line = one(fig, name, panel)
            assert list(line.x) == LAYERS
            np.testing.assert_array_equal(line.y, at[key])
            assert (line.line.color, line.line.dash) == (colour, dash)
            bounds = {"estimate": ("ci_low", "ci_high"), "user_is": ("user_is_ci_low", "user_is_ci_high")}.get(key, ())
            for k, (layer, text) in enumerate(zip(LAYERS, line.text, strict=True)):
                np.testing.assert_allclose(decimals(text), [float(at[v][k]) for v in (key, *bounds)], rtol=1e-9)
                assert text.endswith(f"layer {layer}")
            if bounds:
                low, high = band(fig, colour, panel)
                np.testing.assert_array_equal(low, at[bounds[0]])
                np.testing.assert_array_equal(high, at[bounds[1]])
    assert (fig.layout.yaxis.title.text, fig.layout.yaxis2.title.text) == ("S", None)


def test_lines_of_a_transfer_hold_their_segment_with_bands_rules_and_looks() -> None:
    moved = GROUPS["transfer/segments/resid_pre"]
    fig = transfer_maps(moved)
    assert sorted(legend(fig)) == ["control: paraphrase", "control: persona", "control: random", "denoise", "noise"]
    assert rules(fig) == {("y", 0.0), ("y", 1.0), ("y2", 0.0), ("y2", 1.0)}
    for panel, segment in (("x", "question"), ("x2", "all")):
        assert note(fig, f"<b>{segment}</b>").xref == f"{panel} domain"
        for direction, colour in DIRECTIONS.items():
            at = moved.sel(segment=segment, direction=direction)
            line = one(fig, direction, panel)
            np.testing.assert_array_equal(line.y, at.estimate)
            assert (line.line.color, line.line.dash) == (colour, "solid")
            low, high = band(fig, colour, panel)
            np.testing.assert_array_equal(low, at.ci_low)
            np.testing.assert_array_equal(high, at.ci_high)
            for k, text in enumerate(line.text):
                np.testing.assert_allclose(decimals(text), [float(at[v][k]) for v in ("estimate", "ci_low", "ci_high")])
            for kind, (grey, dash) in CONTROLS.items():
                (control,) = (
                    t
                    for t in named(fig, f"control: {kind}")
                    if (t.xaxis or "x") == panel and f"{kind}), {direction}:" in t.text[0]
                )
                np.testing.assert_array_equal(control.y, at[f"control_{kind}"])
                assert (control.line.color, control.line.dash) == (grey, dash)
    assert fig.layout.yaxis.title.text == "T"
    assert "noise: 12 pairs (2 gated) · denoise: 13 pairs (3 gated)" in fig.layout.title.text
