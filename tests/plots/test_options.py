"""What every drawing takes besides its numbers is done to its figure, and to nothing else."""

from __future__ import annotations

import inspect

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from tests.plots.on_paper.hard import effects, items, tokens
from tests.plots.on_paper.measuring import faults, texts

from selfrep.analyses.items.figures import item_bars
from selfrep.errors import SelfrepError
from selfrep.plots import options
from selfrep.plots.effects import heatmap
from selfrep.plots.options import drawing, page, to_matplotlib
from selfrep.plots.panels import SEGMENT

WORDS = [" who", " are", " you"]
draw, bars = drawing(heatmap), drawing(item_bars)


@pytest.fixture
def sweep() -> xr.Dataset:
    return effects(12, WORDS, layers=3)


def test_without_options_a_drawing_is_what_it_was(sweep: xr.Dataset) -> None:
    assert draw(sweep) == heatmap(sweep)
    assert draw.__name__ == "heatmap"
    parameters = inspect.signature(draw).parameters
    assert list(parameters)[:2] == ["effects", "pair"]
    assert {"backend", "ax", "title", "colorscale", "zmax", "transpose", "labels", "tokens", "width"} < set(parameters)
    assert "transpose:" in (draw.__doc__ or "")


def test_a_title_goes_with_its_room_or_is_replaced(sweep: xr.Dataset) -> None:
    usual, bare, other = heatmap(sweep), draw(sweep, title=None), draw(sweep, title="a <b>")
    assert bare.layout.title.text is None
    assert usual.layout.height - bare.layout.height == usual.layout.margin.t - bare.layout.margin.t > 40
    assert other.layout.title.text.startswith("<b>a &lt;b&gt;</b><br>")
    assert other.layout.meta["title"] == "a <b>"
    tall, flat = (page(fig, 3.25).get_size_inches()[1] for fig in (usual, bare))
    assert flat < tall - 0.25


def test_colours_end_where_they_are_told_to(sweep: xr.Dataset) -> None:
    fig = draw(sweep, zmax=0.2, colorscale=[(0, "#000000"), (0.5, "#808080"), (1, "#ffffff")])
    axis = fig.layout.coloraxis
    assert axis.cmax == 0.2
    assert axis.colorscale[-1] == (1, "#ffffff")
    assert [a.text for a in fig.layout.annotations].count("<b>T</b>") == 1
    assert draw(sweep, colorscale="viridis").layout.coloraxis.cmin == heatmap(sweep).layout.coloraxis.cmin
    for wrong, match in (({"colorscale": "nope"}, "nope"), ({"zmax": 0.0}, "above 0")):
        with pytest.raises(SelfrepError, match=match):
            draw(sweep, **wrong)
    with pytest.raises(SelfrepError, match="Only heat maps"):
        bars(items(6), zmax=1.0)


def test_tokens_and_segments_are_left_out(sweep: xr.Dataset) -> None:
    def brackets(fig: go.Figure) -> int:
        return sum(SEGMENT in str(s.name) for s in fig.layout.shapes)

    for tokens_, shown, bracketed in (("all", None, True), ("segments", False, True), ("none", False, False)):
        fig = draw(sweep, tokens=tokens_)
        assert fig.layout.xaxis.showticklabels is shown
        assert (brackets(fig) > 0) == bracketed
        said = {text for text, _ in texts(page(fig, 5.5))}
        assert ("who" in said, "question" in said) == (shown is None, bracketed)
    with pytest.raises(SelfrepError, match="tokens='some'"):
        draw(sweep, tokens="some")


def test_labels_are_said_everywhere_but_in_prompts(sweep: xr.Dataset) -> None:
    fig = draw(sweep, labels={"Denoise": "Put in", "question": "the <question>", "who": "never"})
    assert "<b>Put in</b>" in [a.text for a in fig.layout.annotations]
    assert f"{SEGMENT} the &lt;question&gt;" in [s.name for s in fig.layout.shapes]
    assert "who" in fig.layout.xaxis.ticktext
    name = str(items(6)["item"].values[0])
    assert "A" in bars(items(6), labels={name: "A"}).layout.yaxis.ticktext


def test_a_map_turns(sweep: xr.Dataset) -> None:
    usual, turned = heatmap(sweep), draw(sweep, transpose=True)
    for before, after in zip(usual.data, turned.data, strict=True):
        np.testing.assert_array_equal(np.asarray(before.z).T, np.asarray(after.z))
        assert before.text[1][4] == after.text[4][1]
    assert turned.layout.yaxis.range[0] > turned.layout.yaxis.range[1], "the first token on top"
    assert (turned.layout.xaxis.title.text, turned.layout.yaxis.title.text) == ("layer", None)
    assert turned.layout.xaxis.ticktext == usual.layout.yaxis.ticktext
    figure = page(turned, 5.5)
    assert faults(figure) == []
    assert {"who", "layer"} <= {text for text, _ in texts(figure)}
    alone = draw(effects(60, WORDS, layers=3), transpose=True, tokens="segments")
    assert {"question", "system"} <= {text for text, _ in texts(page(alone, 3.25))}
    assert not {"who"} & {text for text, _ in texts(page(draw(sweep, transpose=True, tokens="none"), 3.25))}
    with pytest.raises(SelfrepError, match="Only maps"):
        bars(items(6), transpose=True)


def test_paper_is_asked_for_by_its_name_or_by_axes(sweep: xr.Dataset) -> None:
    made = draw(sweep, backend="matplotlib", width=3.25)
    assert isinstance(made, np.ndarray)
    assert made[0].figure.get_size_inches()[0] == pytest.approx(3.25)
    assert isinstance(bars(items(6), backend="matplotlib"), Axes)
    ax = plt.figure().add_subplot()
    assert bars(items(6), ax=ax) is ax
    assert draw(sweep, width=4.0).layout.width == 384
    for wrong, match in (({"backend": "gnuplot"}, "gnuplot"), ({"width": -1.0}, "positive width")):
        with pytest.raises(SelfrepError, match=match):
            draw(sweep, **wrong)
    with pytest.raises(SelfrepError, match="not both"):
        to_matplotlib(item_bars(items(6)), ax=ax, width=3.0)
    plt.close("all")


def test_segments_are_told_where_there_is_no_room_for_tokens() -> None:
    assert set(tokens(20, WORDS)["segment"][1]) == {"template", "system", "question", "prefill"}  # type: ignore[index]
    said = {text for text, _ in texts(page(heatmap(effects(200, WORDS, layers=3)), 2.2))}
    assert "who" not in said
    assert {"question", "system"} <= said
    assert options.OWN is not None
