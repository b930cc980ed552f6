"""Lines stand at their layers, gaps stay gaps, and a band goes from the low to the high end."""

from __future__ import annotations

import numpy as np
import pytest
from tests.plots.reading import legend, named, rules

from selfrep.plots.profiles import Pen, finish_profiles, finish_stack, profiles, stack

LAYERS = [2, 3, 7, 9]
VALUES = np.array([1.0, 2.0, np.nan, 4.0])


def test_a_profile_holds_its_line_its_band_and_its_rule() -> None:
    frame = profiles(2)
    for panel in frame.panels:
        pen = Pen(frame.fig, panel, LAYERS)
        pen.rule(0.5)
        pen.band(VALUES - 1, VALUES + 2, "#0072B2")
        pen.line("S", VALUES, "#0072B2", VALUES - 1, VALUES + 2, rank=1)
    fig = finish_profiles(frame, LAYERS, name="S", columns=2, title="t", subtitle="", caption="c")
    for panel, axis in (("x", "y"), ("x2", "y2")):
        line = named(fig, "S", panel)
        np.testing.assert_array_equal(line.x, [0, 1, 5, 7])  # from the lowest layer, at true distances
        np.testing.assert_array_equal(line.y, VALUES)
        assert line.text[0] == "<b>S: 1 [0, 3]</b><br>layer 2"
        assert (axis, 0.5) in rules(fig)
        bands = [t for t in fig.data if t.name == "interval" and (t.xaxis or "x") == panel]
        assert [list(t.x) for t in bands] == [[0, 1, 1, 0], [7, 7]], "the gap parts the band"
        assert list(bands[0].y) == [3, 4, 1, 0]
    assert legend(fig) == ["S"]
    assert fig.layout.xaxis.ticktext[0] == "2"


def test_a_stack_has_axes_and_legends_of_its_own_over_the_same_layers() -> None:
    frame = stack(2)
    for panel, layers in zip(frame.panels, (LAYERS, LAYERS[1:]), strict=True):
        pen = Pen(frame.fig, panel, layers, stacked=True, first=2)
        pen.line("S", VALUES[-len(layers) :] * panel.row, "#0072B2", rank=1)
        pen.band(VALUES[-len(layers) :], VALUES[-len(layers) :] + 1, "#0072B2")
    fig = finish_stack(
        frame, LAYERS, names=["Δ", "T"], heights=[200.0, 100.0], columns=2, title="t", subtitle="", caption="c"
    )
    above, below = (named(fig, "S", panel) for panel in ("x", "x2"))
    assert (above.legend, below.legend) == ("legend", "legend2")
    assert (list(above.x), list(below.x)) == ([0, 1, 5, 7], [1, 5, 7])
    assert fig.layout.xaxis.range == fig.layout.xaxis2.range
    assert (fig.layout.yaxis.title.text, fig.layout.yaxis2.title.text) == ("Δ", "T")
    assert fig.layout.yaxis2.matches is None, "each quantity has its own scale"
    (low, top), (bottom, high) = fig.layout.yaxis.domain, fig.layout.yaxis2.domain
    assert (top, bottom) == (1, 0)
    assert (top - low) / (high - bottom) == pytest.approx(2)
    legends = [layout.y for layout in (fig.layout.legend, fig.layout.legend2)]
    assert high < legends[0] < low, "the upper legend stands between the panels"
    assert legends[1] < 0
