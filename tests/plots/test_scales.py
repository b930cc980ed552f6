"""Colours tell the sign, and the bar shows what is used of them."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.colors import to_rgb

from selfrep.errors import SelfrepError
from selfrep.plots.on_paper import marks
from selfrep.plots.scales import _ticks, colour_bar, rescale
from selfrep.plots.theme import DIVERGING


def grey(rgb: tuple[float, float, float]) -> float:
    """How light a colour prints."""
    return float(np.dot(rgb, (0.2126, 0.7152, 0.0722)))


def scaled(values: np.ndarray, limit: float, floor: float | None = None) -> go.Figure:
    fig = go.Figure(go.Heatmap(z=values, coloraxis="coloraxis"))
    colour_bar(fig, "S", [values], limit, floor=floor)
    return fig


def test_every_scale_has_a_few_round_ticks() -> None:
    for limit in np.geomspace(0.01, 100, 200):
        for low, fewest, most in ((-limit, 5, 11), (0.0, 3, 6)):
            ticks = _ticks(float(limit), float(low), above=False, below=False)
            assert fewest <= len(ticks) <= most, limit
            assert low * (1 + 1e-9) <= min(ticks) <= max(ticks) <= limit * (1 + 1e-9)


def test_the_bar_begins_below_the_least_value_and_ends_at_the_limit() -> None:
    assert scaled(np.array([[0.0, 0.4]]), 0.4).layout.coloraxis.cmin == 0
    few = scaled(np.array([[-0.01, 0.4]]), 0.4).layout.coloraxis
    assert -0.1 < few.cmin < -0.01
    assert scaled(np.array([[-0.9, 0.4]]), 0.4).layout.coloraxis.cmin == -0.4
    assert scaled(np.array([[0.1]]), 0.4, floor=-0.2).layout.coloraxis.cmin <= -0.2, "what is pointed at is on it"


@pytest.mark.parametrize("lowest", [0.0, -0.05, -0.2, -0.4])
def test_a_colour_means_the_same_number_whatever_the_bar_shows(lowest: float) -> None:
    whole = marks.scale(scaled(np.array([[-0.4, 0.4]]), 0.4).layout.coloraxis)
    axis = scaled(np.array([[lowest, 0.4]]), 0.4).layout.coloraxis
    for value in np.linspace(max(lowest, axis.cmin), 0.4, 9):
        here = marks.scale(axis)((value - axis.cmin) / (axis.cmax - axis.cmin))
        np.testing.assert_allclose(here, whole((value + 0.4) / 0.8), atol=0.02)


def test_colours_alone_do_not_tell_the_sign_in_grey() -> None:
    """Why cells below zero are hatched on paper: the two ends are one grey."""
    low, high = (grey(to_rgb(DIVERGING[i][1])) for i in (1, -2))
    assert abs(low - high) < 0.15


def test_other_colours_and_limits_replace_those_that_were_there() -> None:
    fig = scaled(np.array([[-0.2, 0.4]]), 0.4, floor=0.1)
    notes = len(fig.layout.annotations)
    rescale(fig, limit=0.8, colourscale="RdBu")
    assert len(fig.layout.annotations) == notes
    assert fig.layout.coloraxis.cmax == 0.8
    rescale(fig, colourscale="magma")
    assert len(fig.layout.coloraxis.colorscale) > 5
    with pytest.raises(SelfrepError, match="Only heat maps"):
        rescale(go.Figure(), limit=1.0)
