"""Every kind of figure on paper, at every width: nothing cut, nothing over anything else, and the right numbers."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from tests.plots.on_paper.hard import CHINESE, effects, hard, items, transfer
from tests.plots.on_paper.measuring import faults, texts
from tests.report.groups import run_of

from selfrep.analyses.items.figures import item_bars
from selfrep.analyses.transfer.figures import transfer_maps
from selfrep.errors import SelfrepError
from selfrep.plots.effects import heatmap
from selfrep.plots.on_paper import beside, on_axes, on_page
from selfrep.plots.venues import paper
from selfrep.report.figures import drawings

WIDTHS = (2.2, 3.25, 5.5, 10.0)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Figures are not left to the next test."""
    matplotlib.use("Agg")
    yield
    plt.close("all")


def named(figure: Figure) -> set[str]:
    return {text for text, _ in texts(figure)}


def test_what_measures_finds_what_is_cut_and_what_lies_on_what() -> None:
    """The control of the tests below."""
    figure = Figure(figsize=(2, 1))
    figure.text(0.5, 0.5, "one")
    figure.text(0.52, 0.5, "other")
    figure.text(0.9, 0.1, "a long text")
    assert [fault.partition(":")[0] for fault in faults(figure)] == ["cut", "over one another"]


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_every_kind_of_figure_fits_at_every_width(width: float) -> None:
    for one in drawings(run_of()):
        figure, axes = on_page(one.figure, width)
        assert faults(figure) == [], one.name
        assert figure.get_size_inches()[0] == pytest.approx(width)
        assert len(axes) == len({(t.xaxis or "x", t.yaxis or "y") for t in one.figure.data} or {1})


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_hard_to_fit_fits(width: float) -> None:
    for name, fig in hard().items():
        assert faults(on_page(fig, width)[0]) == [], name


def test_the_narrowest_fits() -> None:
    """Of those above, one that is quick."""
    assert faults(on_page(item_bars(items(6)), 2.2)[0]) == []


def test_a_map_shows_its_numbers_in_their_places() -> None:
    fig = heatmap(effects(8, CHINESE, layers=3))
    figure, axes = on_page(fig, 5.5)
    for ax, trace in zip(axes, fig.data, strict=True):
        (mesh,) = (c for c in ax.collections if c.get_array() is not None)
        np.testing.assert_array_equal(mesh.get_array().filled(np.nan), np.asarray(trace.z, dtype=float))
        assert mesh.get_clim() == (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax)
        assert ax.get_ylim() == (-0.5, 2.5), "layers grow upwards"
        assert [label.get_text() for label in ax.get_xticklabels()][-1] == fig.layout.meta["places"][-1]
    assert "$x$" in named(on_page(heatmap(effects(12, CHINESE)), 5.5)[0]), "no TeX"
    assert {"Denoise", "Noise", "T", "layer"} <= named(figure)


def test_cells_below_zero_are_hatched_and_others_are_not() -> None:
    raw = effects(4, [" a"], layers=2)
    for sign, hatched in ((1, False), (-1, True)):
        raw.transfer[:] = sign * 0.7
        ax = on_page(heatmap(raw, 0), 3.25)[1][0]
        assert any(patch.get_hatch() for patch in ax.patches) == hatched


def test_panels_stand_below_each_other_where_it_is_narrow_and_beside_where_it_is_wide() -> None:
    fig = transfer_maps(transfer(12))
    for width, beside_ in ((2.2, False), (10.0, True)):
        first, second = (ax.get_position() for ax in on_page(fig, width)[1])
        assert (abs(first.y0 - second.y0) < 1e-6) == beside_
        assert (abs(first.x0 - second.x0) < 1e-6) != beside_


def test_the_height_is_what_is_asked_for_or_what_is_needed() -> None:
    fig = item_bars(items(6))
    assert on_page(fig, 3.25, 3.0)[0].get_size_inches()[1] == pytest.approx(3.0)
    less, more = (on_page(item_bars(items(n)), 3.25)[0].get_size_inches()[1] for n in (4, 12))
    assert more > less + 1


def test_unreadable_widths_and_unknown_traces_are_refused() -> None:
    with pytest.raises(SelfrepError, match=r"between 2 and 20 inches.*got 1"):
        on_page(item_bars(items(6)), 1.0)
    with pytest.raises(SelfrepError, match=r"holds a pie.*engine=\"browser\""):
        on_page(go.Figure(go.Pie(values=[1])))
    with pytest.raises(SelfrepError, match="no figure"):
        beside([])


def test_it_is_drawn_on_the_axes_of_an_author() -> None:
    with paper("icml") as page:
        figure, (left, right) = plt.subplots(1, 2, figsize=(page.text, 3.6), layout="constrained")
        assert on_axes(item_bars(items(6)), right) == [right]
    assert right.get_xlabel()
    assert not left.lines
    assert faults(figure) == []


def test_several_panels_take_as_many_axes_or_share_the_place_of_one() -> None:
    fig = heatmap(effects(6, [" a"], layers=3))
    figure, grid = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    assert on_axes(fig, grid) == list(grid)
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
    made = on_axes(fig, left)
    assert len(made) == 2
    assert left not in figure.axes
    assert right in figure.axes
    top, _ = plt.figure(figsize=(6, 4)).subfigures(2, 1)
    assert len(on_axes(fig, top)) == 2
    with pytest.raises(SelfrepError, match=r"2 panels; 3 axes"):
        on_axes(fig, plt.subplots(1, 3)[1])
    with pytest.raises(SelfrepError, match="2 panels"):
        on_axes(fig, plt.figure().add_axes((0, 0, 1, 1)))


def test_figures_beside_each_other_share_their_colours_and_have_letters() -> None:
    first, second = (heatmap(effects(6, [" a"], layers=3) * factor, 0) for factor in (1.0, 40.0))
    figure, (one, other) = beside([first, second], 7.0)
    limits = {ax.collections[0].get_clim() for ax in (*one, *other)}
    assert len(limits) == 1
    assert max(limits)[1] == second.layout.coloraxis.cmax
    assert sum(text == "T" for text, _ in texts(figure)) == 1, "one bar"
    assert {text.get_text()[:2] for text in figure.texts} >= {"a ", "b "}
    apart, (one, other) = beside([first, second], 7.0, share=False, letters=False)
    assert one[0].collections[0].get_clim() != other[0].collections[0].get_clim()
    assert sum(text == "T" for text, _ in texts(apart)) == 2
    assert faults(figure) == faults(apart) == []
