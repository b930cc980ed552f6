"""What is written on a panel stands over what it names, in as many rows as it needs, and covers nothing."""

from __future__ import annotations

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from tests.plots.on_paper.hard import effects
from tests.plots.on_paper.measuring import texts

from selfrep.plots.effects import heatmap
from selfrep.plots.on_paper import on_page


def in_points(ax: Axes) -> Bbox:
    return Bbox(ax.get_window_extent().get_points() * 72 / ax.figure.dpi)


def test_segments_stand_over_their_tokens_and_none_covers_another() -> None:
    figure, axes = on_page(heatmap(effects(60, [f" w{k}" for k in range(60)], layers=3), 0), 3.25)
    inside = in_points(axes[0])
    boxes = {text: box for text, box in texts(figure) if text in ("system", "question", "answer", "prefill")}
    assert len(boxes) >= 2
    for name, box in boxes.items():
        assert box.y0 >= inside.y1, name
        assert not [other for other, at in boxes.items() if other != name and at.overlaps(box)], name


def test_a_text_that_would_reach_beyond_its_axes_is_moved_into_them() -> None:
    fig = go.Figure(go.Scatter(x=[0, 1], y=[0, 1]))
    fig.add_annotation(text="a rather long remark at the edge", x=1, y=1, showarrow=False, xanchor="left")
    figure, axes = on_page(fig, 3.25)
    inside = in_points(axes[0])
    (box,) = (box for text, box in texts(figure) if "remark" in text)
    assert box.x1 <= inside.x1 + 1
    assert box.y1 <= inside.y1 + 1
