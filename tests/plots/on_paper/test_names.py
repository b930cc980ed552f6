"""Names stand beside their points and never over one another."""

from __future__ import annotations

from itertools import combinations

import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.text import Text

from selfrep.plots.on_paper.names import beside
from selfrep.plots.on_paper.type import renderer


def named(*points: tuple[str, float, float]) -> tuple[Figure, list[str], list[object]]:
    figure = Figure(figsize=(3, 3))
    ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    notes = [go.layout.Annotation(text=text, x=x, y=y, showarrow=True) for text, x, y in points]
    made = beside(ax, [*notes, go.layout.Annotation(text="no name", showarrow=False)], (2.4, 2.4), [])
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(note, renderer(figure)) for note in made]
    return figure, [note.get_text() for note in made], boxes


def test_names_of_points_apart_are_all_written() -> None:
    _, texts, boxes = named(("one", 0.2, 0.2), ("two", 0.5, 0.8), ("a &lt; b", 0.8, 0.3))
    assert set(texts) == {"one", "two", "a < b"}
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_of_names_without_room_some_are_left_out_and_none_covers_another() -> None:
    _, texts, boxes = named(*((f"a long name {k}", 0.5, 0.5 + k / 500) for k in range(40)))
    assert 2 < len(texts) < 40
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
