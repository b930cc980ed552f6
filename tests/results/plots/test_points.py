"""Every prompt is a point where the Dataset puts it; kind, side and voice can be told apart."""

from __future__ import annotations

import numpy as np
import xarray as xr

from selfrep.results.plots.points import persona_map
from selfrep.results.plots.theme import KINDS, SIDES


def test_every_prompt_is_drawn_once(points: xr.Dataset) -> None:
    fig = persona_map(points)
    small = [trace for trace in fig.data if trace.marker.size == 4]
    drawn = sorted((x, y) for trace in small for x, y in zip(trace.x, trace.y, strict=True))
    assert drawn == sorted(map(tuple, points.coordinates.values.tolist()))


def test_colour_is_the_kind_shape_the_side_and_hollow_the_user(points: xr.Dataset) -> None:
    large = [trace for trace in persona_map(points).data if trace.marker.size in (8, 10)]
    for trace in large:
        kind = trace.legendgroup
        hollow = trace.marker.size == 8
        assert trace.marker.color == KINDS[kind]
        assert trace.marker.symbol == SIDES["human" if kind == "human" else "ai"] + ("-open" if hollow else "")
    assert len(large) == 6
    jfk = points.coordinates.values[(points.persona == "jfk").values & (points.voice == "you").values].mean(axis=0)
    humans = next(t for t in large if t.legendgroup == "human" and t.marker.size == 10)
    assert any(np.allclose(jfk, at) for at in zip(humans.x, humans.y, strict=True))


def test_each_persona_is_named_once_and_as_text(points: xr.Dataset) -> None:
    texts = [a.text for a in persona_map(points).layout.annotations if a.showarrow]
    assert texts[:3] == ["smollm", "hal", "jfk"]
    assert len(texts) == 4
    assert texts[3].startswith("&lt;b&gt;")


def test_axes_share_a_scale_that_holds_every_point(points: xr.Dataset) -> None:
    fig = persona_map(points)
    assert fig.layout.yaxis.scaleanchor == "x"
    for axis, values in zip((fig.layout.xaxis, fig.layout.yaxis), points.coordinates.values.T, strict=True):
        assert axis.range[0] < values.min()
        assert values.max() < axis.range[1]
    width = 528 - fig.layout.margin.l - fig.layout.margin.r
    height = fig.layout.height - fig.layout.margin.t - fig.layout.margin.b
    units = [np.ptp(axis.range) for axis in (fig.layout.xaxis, fig.layout.yaxis)]
    np.testing.assert_allclose(width / units[0], height / units[1], rtol=0.01)


def test_points_on_one_spot_or_nowhere(points: xr.Dataset) -> None:
    assert persona_map(points.assign(coordinates=points.coordinates * 0)).data
    assert not persona_map(points.assign(coordinates=points.coordinates * np.nan)).data
