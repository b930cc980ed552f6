"""What is read of a figure is what plotly would draw."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest
from tests.plots.on_paper.hard import effects, items, people

from selfrep.analyses.items.figures import degree_of_separation, item_bars
from selfrep.errors import SelfrepError
from selfrep.plots.effects import heatmap
from selfrep.plots.on_paper.sheet import read


def test_a_map_is_read_panel_by_panel() -> None:
    fig = heatmap(effects(6, [" a", " <b>"], layers=3))
    sheet = read(fig)
    assert (sheet.title, sheet.scale, sheet.columns) == ("Transfer of each patched activation", "T", 2)
    assert sheet.places == ("a", "<b>") * 3
    assert [part.heading for part in sheet.parts] == ["Denoise", "Noise"]
    assert [(part.row, part.column) for part in sheet.parts] == [(0, 0), (0, 1)]
    assert all(part.is_map and part.shared and part.ylabel == "layer" for part in sheet.parts)
    assert all(part.shapes for part in sheet.parts), "the brackets of its own segments"
    numbers = [i for part in sheet.parts for i, _ in part.traces]
    assert sorted(numbers) == list(range(len(fig.data))), "every trace in one panel"


def test_axes_of_one_scale_are_known_and_others_are_not() -> None:
    plane, rows = read(degree_of_separation(people(8))).parts, read(item_bars(items(6))).parts
    assert plane[0].aspect == pytest.approx(plane[0].height / plane[0].width, rel=0.02)
    assert rows[0].aspect is None


def test_what_its_user_adds_is_read_too_and_unknown_traces_are_named() -> None:
    fig = item_bars(items(6)).update_layout(title_text="<b>Mine</b>").add_annotation(text="here", x=1, y=1)
    sheet = read(fig)
    assert sheet.title == "Mine"
    assert "here" in [note.text for note in sheet.parts[0].notes]
    with pytest.raises(SelfrepError, match="holds a surface"):
        read(go.Figure(go.Surface(z=[[1, 2], [3, 4]])))
