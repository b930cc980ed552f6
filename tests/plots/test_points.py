"""A view holds every point on one scale; names stand where their offsets put them."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

from selfrep.plots.points import View, write_names

POINTS = np.array([[0.0, 0.0], [10.0, 1.0], [4.0, -3.0], [np.nan, 2.0]])


def test_a_view_holds_every_point_on_one_scale() -> None:
    view = View.of(POINTS)
    assert (view.low < np.nanmin(POINTS, axis=0)).all()
    assert (view.high > np.nanmax(POINTS[:3], axis=0)).all()
    np.testing.assert_allclose(
        (view.high - view.low) / [view.width, view.height], (view.high - view.low)[0] / view.width
    )
    np.testing.assert_allclose(view.pixels(view.low), 0)
    np.testing.assert_allclose(view.pixels(view.high), [view.width, view.height])


def test_points_on_one_spot_have_a_view() -> None:
    view = View.of(np.ones((3, 2)))
    assert (view.low < 1).all()
    assert (view.high > 1).all()


def test_a_name_stands_where_its_offset_puts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """plotly counts a name's distance from its mark downwards, `spread` upwards."""
    monkeypatch.setattr("selfrep.plots.points.spread", lambda anchors, *_: np.full(anchors.shape, [30.0, 7.0]))
    fig = go.Figure()
    write_names(fig, ["a", "b"], POINTS[:2], POINTS[:3], np.ones(3), View.of(POINTS))
    assert [(a.text, a.x, a.y, a.ax, a.ay) for a in fig.layout.annotations] == [
        ("a", 0.0, 0.0, 30.0, -7.0),
        ("b", 10.0, 1.0, 30.0, -7.0),
    ]
    write_names(fig, [], np.empty((0, 2)), POINTS[:3], np.ones(3), View.of(POINTS))
    assert len(fig.layout.annotations) == 2, "no names, no marks"
