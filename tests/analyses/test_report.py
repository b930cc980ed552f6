"""Which figures a report has: those whose groups are there."""

from __future__ import annotations

import plotly.graph_objects as go

from selfrep.analyses.report import Figure


def draw(*_: object) -> go.Figure:
    return go.Figure()


def test_a_figure_is_drawn_where_all_of_its_groups_are() -> None:
    two = Figure("pair", ("a", "b"), draw)
    assert two.matching(["b", "c", "a"]) == [two]
    assert two.matching(["a", "c"]) == []


def test_a_pattern_is_one_figure_a_group_each_with_what_is_shown_of_it() -> None:
    pattern = Figure("", ("transfer/*",), draw, select=lambda data: data)
    figures = pattern.matching(["transfer/effects/z", "items", "transfer/segments/z", "not/transfer/z"])
    assert [one.name for one in figures] == ["transfer_effects_z", "transfer_segments_z"]
    assert [one.groups for one in figures] == [("transfer/effects/z",), ("transfer/segments/z",)]
    assert all((one.draw, one.select) == (pattern.draw, pattern.select) for one in figures)
    assert pattern.matching(["items"]) == []
