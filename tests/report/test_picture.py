"""What a page draws: figures that fit it and end no script, and a line that shows an interval beside zero."""

from __future__ import annotations

import json

import numpy as np
import plotly.graph_objects as go

from selfrep.plots.profiles import Pen, finish_profiles, profiles
from selfrep.report.picture import Picture, Whisker
from selfrep.store.findings import Finding

EVIL = "</script><script>alert(1)</script>"


def test_a_picture_leaves_title_and_width_to_the_page() -> None:
    figure = go.Figure(go.Heatmap(z=[[0.0, 1.0]]))
    words = {"text": "<b>inside</b>", "subtitle": {"text": "<i>2 &lt; 3</i>"}}
    figure.update_layout(title=words, height=400, width=528, margin={"t": 80})
    picture = Picture.of("n", "t", "c", figure)
    layout = json.loads(picture.json)["layout"]
    assert not {"title", "width", "height", "meta"} & set(layout)
    assert picture.subtitle.strip() == "2 < 3"
    assert (picture.height, layout["margin"]["t"]) == (400 - 46, 80 - 46)
    assert (figure.layout.height, figure.layout.margin.t) == (400, 80), "the figure itself stays as it was"
    assert Picture.of("n", "t", "c", go.Figure()).height == 450


def test_a_profile_fits_a_narrow_page_and_a_figure_from_elsewhere_scrolls() -> None:
    frame = profiles(1)
    Pen(frame.fig, frame.panels[0], [0, 1]).line("Δ", np.array([0.0, 1.0]), "#000000", rank=0)
    fig = finish_profiles(frame, [0, 1], name="Δ", columns=2, title="t", subtitle="", caption="c")
    assert Picture.of("n", "t", "c", fig).narrows
    assert not Picture.of("n", "t", "c", go.Figure()).narrows
    three = finish_profiles(profiles(3), [0], name="", columns=2, title="", subtitle="", caption="")
    assert not Picture.of("n", "t", "c", three).narrows, "three panels in a row"


def test_nothing_in_a_drawing_can_end_its_script() -> None:
    evil = go.Figure(go.Scatter(x=[0], y=[0], text=[EVIL + "<!-- &amp; \u2028"]))
    text = Picture.of("n", "t", "c", evil).json
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text)["data"][0]["text"] == [EVIL + "<!-- &amp; \u2028"]


def test_a_whisker_keeps_order_and_shows_zero() -> None:
    for value, low, high in ((5.83, 4.9, 6.8), (-0.012, -0.03, 0.008), (-3.0, -4.0, -2.0), (0.0, 0.0, 0.0)):
        line = Whisker.of(Finding("t", value, (low, high), "", ""))
        assert line is not None
        assert 0 <= line.low <= line.value <= line.high <= 100
        assert (line.zero < line.low, line.zero > line.high) == (low > 0, high < 0)
    nothing, rounded = (Whisker.of(Finding("t", x, (-x, x), "", "")) for x in (0.0, 1e-17))
    assert rounded == nothing, "rounding is not drawn as wide as the line"
    assert Whisker.of(Finding("t", "layer 22", None, "", "")) is None
