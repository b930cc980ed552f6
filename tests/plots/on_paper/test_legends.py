"""Each thing has one key, and keys have as many columns as there is room for."""

from __future__ import annotations

import plotly.graph_objects as go
from matplotlib.figure import Figure

from selfrep.plots.on_paper.legends import keys, legend
from selfrep.plots.on_paper.sheet import read
from selfrep.plots.on_paper.type import renderer
from selfrep.plots.venues import paper


def lines(*names: str) -> go.Figure:
    return go.Figure([go.Scatter(x=[1, 2], y=[1, 2], name=name, legendgroup=name) for name in names])


def test_each_thing_once_in_its_order_and_one_alone_not_at_all() -> None:
    fig = lines("b", "a", "b")
    fig.data[1].legendrank = 1
    assert [key.name for key in keys(read(fig).parts)] == ["a", "b"]
    assert keys(read(lines("alone")).parts) == []
    fig.data[0].showlegend = fig.data[2].showlegend = False
    fig.data[1].showlegend = True
    assert [key.name for key in keys(read(fig).parts)] == ["a"]


def test_it_is_read_row_by_row_and_is_as_wide_as_its_room() -> None:
    entries = keys(read(lines(*(f"a line that is called {k}" for k in range(5)))).parts)
    for room, columns in ((1.0, 1), (3.6, 2), (7.5, 4)):
        figure = Figure(figsize=(8, 4))
        with paper("icml"):
            made = legend(figure, entries, room)
        assert made._ncols == columns
        assert made.get_window_extent(renderer(figure)).width / figure.dpi <= room + 0.05
    first = [text.get_text()[-1] for text in made.get_texts()]
    assert first == ["0", "4", "1", "2", "3"], "columns are filled so that rows are read in order"
