"""Maps and profiles show the Dataset: its numbers, its gaps, its words and its controls."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
import xarray as xr
from tests.plots.reading import labels, legend, named, note, rules
from tests.report.groups import GROUPS, LAYERS, decimals

from selfrep.analyses.separation.figures import IDENTITY, separation_map, separation_profile
from selfrep.errors import SelfrepError
from selfrep.plots.theme import CONTROL, NULL, OWN

Maker = Callable[..., xr.Dataset]


def all_named(fig: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in fig.data if trace.name == name]


def test_separation_stands_beside_floor_null_and_control(separation: Maker) -> None:
    sep = separation()
    fig = separation_profile(sep)
    for name, variable in (
        ("“you are X”", "estimate"),
        ("“the user is X”", "user_is"),
        ("any two personas", "identity"),
        ("two personas of one side", "same_side"),
        ("shuffled labels (95 % below)", "null_high"),
    ):
        (line,) = all_named(fig, name)
        np.testing.assert_array_equal(line.y, sep[variable].values[0, :, -1])
    own = all_named(fig, "interval")[-1]
    np.testing.assert_array_equal(own.y, [*sep.ci_high.values[0, :, -1], *sep.ci_low.values[0, ::-1, -1]])


def test_every_segment_has_a_panel_and_the_legend_one_entry_a_line(separation: Maker) -> None:
    fig = separation_profile(separation("segment"))
    assert len(all_named(fig, "“you are X”")) == 5
    shown = [trace.name for trace in fig.data if trace.showlegend]
    assert len(shown) == len(set(shown)) == 5


@pytest.mark.parametrize("where", [-2, [-2, -7]])
def test_places_can_be_chosen(separation: Maker, where: int | list[int]) -> None:
    sep = separation()
    lines = all_named(separation_profile(sep, where=where), "“you are X”")
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
    assert np.isnan(all_named(fig, "“you are X”")[0].y[1])
    assert [len(trace.x) for trace in all_named(fig, "interval")] == [2, 4] * 3, (
        "one layer, then two, for each of three bands"
    )


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
        "shuffled labels (95 % below)", "two personas of one side", "any two personas", "“the user is X”",
        "“you are X”",
    ]  # fmt: skip
    assert rules(fig) == {("y", 0.0), ("y2", 0.0)}
    for panel, place, heading in (("x", -1, "position −1 “a”"), ("x2", -2, "position −2 “am”")):
        at = sep.sel(site="resid_post", position=place)
        assert note(fig, f"<b>{heading}</b>").xref == f"{panel} domain"
        assert labels(fig.layout[panel.replace("x", "xaxis")]) == {k: str(k) for k in range(5)}
        for name, key, colour, dash in (
            ("“you are X”", "estimate", OWN, "solid"),
            ("“the user is X”", "user_is", CONTROL, "solid"),
            ("any two personas", "identity", IDENTITY, "solid"),
            ("two personas of one side", "same_side", NULL, "dash"),
            ("shuffled labels (95 % below)", "null_high", NULL, "dot"),
        ):
            line = named(fig, name, panel)
            assert list(line.x) == LAYERS
            np.testing.assert_array_equal(line.y, at[key])
            assert (line.line.color, line.line.dash) == (colour, dash)
            bounds = (
                () if dash != "solid" else tuple(f"{key}_ci_{end}".removeprefix("estimate_") for end in ("low", "high"))
            )
            for k, (layer, text) in enumerate(zip(LAYERS, line.text, strict=True)):
                np.testing.assert_allclose(decimals(text), [float(at[v][k]) for v in (key, *bounds)], rtol=1e-9)
                assert text.endswith(f"layer {layer}")
            if bounds:
                low, high = band(fig, colour, panel)
                np.testing.assert_array_equal(low, at[bounds[0]])
                np.testing.assert_array_equal(high, at[bounds[1]])
    assert (fig.layout.yaxis.title.text, fig.layout.yaxis2.title.text) == ("S", None)


def maps(fig: go.Figure) -> list[go.Heatmap]:
    return [trace for trace in fig.data if trace.type == "heatmap"]


def headings(fig: go.Figure) -> str:
    return " ".join(a.text for a in fig.layout.annotations)


@pytest.mark.parametrize("by", ["position", "segment"])
def test_separation_shows_its_numbers(separation: Maker, by: str) -> None:
    sep = separation(by, ("resid_pre", "attn_out"))
    fig = separation_map(sep)
    for trace, site in zip(maps(fig), ("resid_pre", "attn_out"), strict=True):
        np.testing.assert_array_equal(trace.z, sep.estimate.sel(site=site))
        assert site in headings(fig)
    colours = fig.layout.coloraxis
    assert colours.cmax == float(np.abs(sep.estimate).max())
    assert -colours.cmax <= colours.cmin <= float(sep.estimate.min()), "the bar begins below all that is shown"
    assert len(maps(separation_map(sep, site="attn_out"))) == 1


def test_separation_marks_what_chance_reaches_and_what_stands_out(separation: Maker) -> None:
    sep = separation()
    fig = separation_map(sep)
    dots = next(trace for trace in fig.data if trace.name == "dotted")
    expected = np.argwhere(sep.estimate.values[0] <= sep.null_high.values[0])
    assert {(y, x) for x, y in zip(dots.x, dots.y, strict=True)} == set(map(tuple, expected))
    assert 0 < len(expected) < sep.estimate.size, "the control: some cells are marked and some are not"
    assert any(trace.name == "outlined" and len(trace.x) for trace in fig.data)
    assert "one side<br>0.11" in headings(fig)
    nothing = separation_map(sep.assign(p_max=sep.p_max * 0 + 1))
    assert not any(trace.name == "outlined" and len(trace.x) for trace in nothing.data)


def test_hover_says_the_controls(separation: Maker) -> None:
    said = maps(separation_map(separation()))[0].text[0][6]
    for word in (
        "S = ",
        "“the user is X”",
        "bound to the speaker",
        "of one side: 0.11",
        "one persona: 0.07",
        "layer 0, position −1 “␣a”, prefill",
    ):
        assert word in said


def outlined(fig: go.Figure, panel: str = "x") -> set[tuple[int, int]]:
    """The cells (layer, place) that an outline encloses, by counting the strokes on the left of each."""
    line = named(fig, "outlined", panel)
    upright = {
        (line.x[k], min(line.y[k], line.y[k + 1])) for k in range(0, len(line.x), 3) if line.x[k] == line.x[k + 1]
    }
    z = np.asarray(next(t for t in maps(fig) if (t.xaxis or "x") == panel).z)
    cells = set()
    for i, j in np.ndindex(z.shape):
        if sum((x - 0.5, i - 0.5) in upright for x in range(j + 1)) % 2:
            cells.add((i, j))
    return cells


def test_a_cell_of_a_separation_is_outlined_by_its_p_over_the_whole_map(separation: Maker) -> None:
    sep = separation()
    p_max = np.full((1, 4, 7), 0.06)
    p_max[0, 1, 2] = p_max[0, 3, 6] = 0.04
    sep = sep.assign(p_max=(sep.p_max.dims, p_max), p=sep.p * 0 + 0.001)
    assert outlined(separation_map(sep)) == {(1, 2), (3, 6)}


@pytest.mark.parametrize("largest", [(0, 0, 1), (1, 3, 2)])
def test_colours_and_floor_are_those_of_all_panels(separation: Maker, largest: tuple[int, ...]) -> None:
    sep = separation(sites=("resid_pre", "attn_out"))
    sep.estimate[largest] = -3.5
    sep.same_side[0], sep.same_side[1] = 0.1, 0.3
    sep.same_side[1, 0, 0] = np.nan
    fig = separation_map(sep)
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-3.5, 3.5)
    (mark,) = (a for a in fig.layout.annotations if a.name == "floor")
    assert mark.y == pytest.approx(0.5 + 0.1 / 3.5 / 2), "the median cell, of 28 with 0.1 and 27 with 0.3"


def test_every_cell_says_its_own_numbers() -> None:
    sep = GROUPS["separation"]
    said = (
        "estimate ci_low ci_high null_high p p_max identity identity_ci_low identity_ci_high same_side noise_floor "
        "user_is user_is_ci_low user_is_ci_high bound_share bound_share_ci_low bound_share_ci_high "
        "condition_cosine condition_cosine_ci_low condition_cosine_ci_high"
    )
    for trace, site in zip(maps(separation_map(sep)), ("resid_pre", "resid_post"), strict=True):
        for (i, layer), (j, place) in product(enumerate(LAYERS), enumerate((-2, -1))):
            cell = sep.sel(site=site, layer=layer, position=place)
            numbers = [float(cell[name]) for name in said.split()]
            np.testing.assert_allclose(decimals(trace.text[i][j]), numbers, rtol=1e-9)
            assert f"layer {layer}, position −{-place}" in trace.text[i][j]
            assert trace.z[i][j] == float(cell.estimate)


def test_where_no_cell_has_a_number_words_stand_there(separation: Maker) -> None:
    assert "Not identified" in headings(separation_map(separation() * np.nan))


def test_a_site_that_is_not_there_is_refused(separation: Maker) -> None:
    with pytest.raises(SelfrepError, match=r"no site 'z'.*resid_post"):
        separation_map(separation(), site="z")


def test_names_are_escaped_and_the_global_template_left_alone(separation: Maker) -> None:
    before = pio.templates.default
    fig = separation_map(separation())
    assert pio.templates.default == before
    assert "<script" not in fig.layout.title.text
    assert "&lt;script" in fig.layout.title.text
    assert fig.layout.template.layout.font.family
