"""Every drawing is had by its name, those of an analysis from elsewhere too; each says how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import plotly.graph_objects as go
import pytest
import xarray as xr
from tests.plots.conftest import axis, effects, identified, items, points, separation, shares, slopes, transfer

import selfrep as sr
from selfrep.analyses import ANALYSES, register, unregister
from selfrep.analyses.analysis import Analysis
from selfrep.analyses.report import Figure, Report
from selfrep.plots.theme import caption

Maker = Callable[..., xr.Dataset]
__all__ = ["axis", "effects", "identified", "items", "points", "separation", "shares", "slopes", "transfer"]


def every(separation: Maker, transfer: Maker, effects: Maker, items: xr.Dataset, points: xr.Dataset) -> list[go.Figure]:
    return [
        sr.plot.separation_map(separation()),
        sr.plot.separation_map(separation("segment")),
        sr.plot.separation_profile(separation()),
        sr.plot.transfer_maps(transfer()),
        sr.plot.transfer_maps(transfer("segment")),
        sr.plot.heatmap(effects()),
        sr.plot.item_bars(items),
        sr.plot.persona_map(points),
        sr.plot.transfer_maps(transfer() * float("nan")),
    ]


def test_every_figure_has_title_caption_height_and_look(
    separation: Maker, transfer: Maker, effects: Maker, items: xr.Dataset, points: xr.Dataset
) -> None:
    for fig in every(separation, transfer, effects, items, points):
        assert fig.layout.title.text.startswith("<b>")
        assert fig.layout.meta["title"]
        assert len(caption(fig)) > 60
        assert 150 < fig.layout.height < 900
        assert fig.layout.template.layout.colorway
        assert "<script" not in fig.to_json().replace("\\u003c", "<")


def test_every_figure_of_every_analysis_is_had_by_its_own_name() -> None:
    drawn = {f.draw: analysis.name for analysis in ANALYSES for f in analysis.load_report().figures}
    assert len({draw.__name__ for draw in drawn}) == len(drawn) > 10, "no name hides another"
    for draw, room in drawn.items():
        assert getattr(sr.plot, draw.__name__).__wrapped__ is draw
        assert getattr(sr.plot, draw.__name__) is getattr(sr.plot, draw.__name__)
        assert draw.__name__ in dir(sr.plot)
        assert draw.__module__.startswith(f"selfrep.analyses.{room}."), "a drawing of an analysis is in its folder"


def humility_map(data: xr.Dataset) -> go.Figure:
    return go.Figure()


def heatmap(data: xr.Dataset) -> go.Figure:
    return go.Figure()


@pytest.fixture
def humility() -> Iterator[None]:
    figures = (Figure("humility", ("humility",), humility_map), Figure("other", ("humility",), heatmap))
    register(Analysis("humility", "how modest it is", report=Report(figures=figures)))
    yield
    unregister("humility")


@pytest.mark.usefixtures("humility")
def test_a_registered_analysis_brings_its_drawings_and_hides_no_general_one() -> None:
    assert sr.plot.humility_map.__wrapped__ is humility_map
    assert sr.plot.heatmap.__wrapped__ is not heatmap
    assert sr.plot.humility_map(xr.Dataset(), width=2.5).layout.width == 240, "and takes what every drawing takes"


def test_an_unknown_drawing_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"'humility_map'.*heatmap.*separation_map"):
        sr.plot.humility_map  # noqa: B018
    assert not hasattr(sr.plot, "__wrapped__")
