"""The numbers shown are the numbers given, on a scale that is centred on zero."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plots.reading import labels, note

from selfrep.plots import heat_maps
from selfrep.plots.heat_maps import Map
from selfrep.plots.panels import Places
from selfrep.plots.theme import DIVERGING

PLACES = Places(("a", "b", "c"), ("a", "b", "c"), ("question",) * 3)


def drawn(*values: np.ndarray, limit: float = 1.0, **more: object) -> object:
    maps = [Map("", v, [[""] * v.shape[1]] * v.shape[0], **more) for v in values]  # type: ignore[arg-type]
    return heat_maps.draw(maps, PLACES, [0, 1], name="T", limit=limit, title="t", subtitle="", caption="")


def luminance(colour: str) -> float:
    return sum(w * int(colour[i : i + 2], 16) for w, i in ((0.21, 1), (0.72, 3), (0.07, 5)))


def test_the_scale_is_centred_and_darkens_both_ways() -> None:
    places = np.array([stop for stop, _ in DIVERGING])
    np.testing.assert_allclose(places + places[::-1], 1.0)
    light = [luminance(colour) for _, colour in DIVERGING]
    assert light[3] == max(light)
    assert np.all(np.diff(light[:4]) > 0)
    assert np.all(np.diff(light[3:]) < 0)
    # The two sides differ where red–green blindness does not reach: in blue against the rest.
    blue = [int(colour[5:7], 16) - int(colour[1:3], 16) for _, colour in DIVERGING]
    assert min(blue[:3]) > 0 > max(blue[4:])


def test_values_and_gaps_are_shown_as_they_are() -> None:
    values = np.array([[0.2, np.nan, -3.0], [1.0, 0.0, 0.5]])
    fig = drawn(values, limit=0.5)
    np.testing.assert_array_equal(fig.data[0].z, values)
    assert fig.data[0].hoverongaps is False
    axis = fig.layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-0.5, 0.5)
    assert axis.colorbar.ticktext[0].startswith("≤")
    assert "≥" not in "".join(drawn(values, limit=3.0).layout.coloraxis.colorbar.ticktext)


@pytest.mark.parametrize("limit", [1e-6, 0.013, 0.3, 1.0, 1.5, 7.0, 4200.0])
def test_ticks_are_round_few_and_within(limit: float) -> None:
    bar = drawn(np.zeros((2, 3)), limit=limit).layout.coloraxis.colorbar
    assert 3 <= len(bar.tickvals) <= 9
    assert 0.0 in bar.tickvals
    assert max(np.abs(bar.tickvals)) <= limit * 1.0001


def test_an_outline_is_the_boundary_of_its_cells() -> None:
    where = np.array([[True, True, False], [True, False, False]])
    fig = drawn(np.zeros((2, 3)), outlined=where)
    line = next(trace for trace in fig.data if trace.name == "outlined")
    edges = {frozenset([(line.x[k], line.y[k]), (line.x[k + 1], line.y[k + 1])]) for k in range(0, len(line.x), 3)}
    expected = set()
    for i, j in np.argwhere(where):
        corners = [(j - 0.5, i - 0.5), (j + 0.5, i - 0.5), (j + 0.5, i + 0.5), (j - 0.5, i + 0.5)]
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
            expected ^= {frozenset([a, b])}  # an edge between two chosen cells cancels
    assert edges == expected
    assert len(expected) == 8


def test_dots_stand_in_their_cells() -> None:
    where = np.array([[False, True, False], [True, False, False]])
    dots = next(trace for trace in drawn(np.zeros((2, 3)), dotted=where).data if trace.name == "dotted")
    assert {(y, x) for x, y in zip(dots.x, dots.y, strict=True)} == {(0, 1), (1, 0)}


@pytest.mark.parametrize(
    ("floor", "said", "pointed"), [(0.25, "▸ one side<br>0.25", 1), (4.0, "above: one side<br>4", 0)]
)
def test_the_floor_is_said_even_when_it_lies_beyond_the_colours(floor: float, said: str, pointed: int) -> None:
    one = Map("", np.zeros((2, 3)), [[""] * 3] * 2)
    fig = heat_maps.draw([one], PLACES, [0, 1], name="S", limit=1.0, title="t", subtitle="", caption="", floor=floor)
    texts = [a.text for a in fig.layout.annotations]
    assert said in texts
    assert texts.count("▸") == pointed


@pytest.mark.parametrize(("floor", "limit"), [(0.25, 1.0), (0.3, 0.3), (0.0, 2.0), (-0.5, 2.0), (3.0, 4.0)])
def test_the_mark_of_the_floor_stands_at_the_height_of_its_colour(floor: float, limit: float) -> None:
    one = Map("", np.zeros((2, 3)), [[""] * 3] * 2)
    fig = heat_maps.draw([one], PLACES, [0, 1], name="S", limit=limit, title="t", subtitle="", caption="", floor=floor)
    (mark,) = (a for a in fig.layout.annotations if a.name == "floor")
    axis, bar = fig.layout.coloraxis, fig.layout.coloraxis.colorbar
    assert (mark.yref, mark.yanchor, bar.len, bar.y) == ("paper", "middle", 1, 0.5), "both over the whole height"
    assert mark.y == pytest.approx((floor - axis.cmin) / (axis.cmax - axis.cmin))


def test_low_is_blue_and_high_orange_on_one_scale_for_all_panels() -> None:
    fig = drawn(np.zeros((2, 3)), np.ones((2, 3)), limit=2.0)
    stops = [(round(2 * at - 1, 9), colour) for at, colour in DIVERGING if at > 0.5]
    shown = tuple((round(at, 9), colour) for at, colour in fig.layout.coloraxis.colorscale[1:])
    assert shown == tuple(stops), "white to orange: nothing is below zero"
    assert not fig.layout.coloraxis.reversescale
    assert [trace.coloraxis for trace in fig.data] == ["coloraxis", "coloraxis"]
    bar = fig.layout.coloraxis.colorbar
    assert [float(text.replace("−", "-")) for text in bar.ticktext] == pytest.approx(list(bar.tickvals))
    assert note(fig, "<b>T</b>").y == 1


def test_layers_grow_upwards_and_tokens_to_the_right_in_every_panel() -> None:
    values = np.arange(6.0).reshape(2, 3)
    one = Map("first", values, [["a", "b", "c"], ["d", "e", "f"]])
    fig = heat_maps.draw([one, one], PLACES, [4, 7], name="T", limit=1.0, title="t", subtitle="", caption="")
    for trace in fig.data:
        assert (trace.x, trace.y, trace.transpose) == (None, None, None), "rows are layers, by their index"
        np.testing.assert_array_equal(trace.z, values)
        np.testing.assert_array_equal(trace.text, one.hover)
    for vertical, horizontal in (("yaxis", "xaxis"), ("yaxis2", "xaxis2")):
        assert labels(fig.layout[vertical]) == {0: "4", 1: "7"}
        assert labels(fig.layout[horizontal]) == {0: "a", 1: "b", 2: "c"}
    assert (fig.layout.yaxis.title.text, fig.layout.yaxis2.title.text) == ("layer", None)
    assert [a.xref for a in fig.layout.annotations if a.text == "<b>first</b>"] == ["x domain", "x2 domain"]


def test_extent_ignores_what_is_not_a_number() -> None:
    assert heat_maps.extent([np.array([np.nan, -3.0]), np.array([2.0])]) == 3.0
    assert heat_maps.extent([np.array([np.nan])]) == 1.0
    assert heat_maps.extent([np.zeros(2)]) == heat_maps.extent([np.array([1e-17, -3e-17])]) == 1.0
    assert heat_maps.extent([np.array([1e-5])]) == 1e-5, "small, and no rounding"
