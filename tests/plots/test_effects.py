"""A heat map shows the effects as they are: their numbers, their gaps, their names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from selfrep.errors import SelfrepError
from selfrep.plots.effects import heatmap

Maker = Callable[..., xr.Dataset]


def maps(fig: go.Figure) -> list[go.Heatmap]:
    return [trace for trace in fig.data if trace.type == "heatmap"]


def headings(fig: go.Figure) -> str:
    return " ".join(a.text for a in fig.layout.annotations)


@pytest.mark.parametrize(("most", "limit"), [(0.4, 1.0), (1.3, 1.3), (-1.3, 1.3), (9.0, 1.5)])
def test_colours_reach_the_whole_behaviour_in_any_panel(effects: Maker, most: float, limit: float) -> None:
    raw = effects()
    raw.transfer[:] = 0.1
    raw.transfer[[1, 3], 2, 3] = most
    fig = heatmap(raw)
    assert fig.layout.coloraxis.cmax == pytest.approx(limit)
    assert fig.layout.coloraxis.colorbar.ticktext[-1].startswith("≥") == (abs(most) > limit)


def test_where_no_cell_has_a_number_words_stand_there(effects: Maker) -> None:
    assert "Not identified" in headings(heatmap(effects().assign(transfer=effects().transfer * np.nan)))


def test_heatmap_is_the_mean_of_the_real_pairs_by_direction(effects: Maker) -> None:
    given = effects()
    fig = heatmap(given)
    np.testing.assert_allclose(maps(fig)[0].z, given.transfer.values[[0, 2]].mean(axis=0))
    np.testing.assert_allclose(maps(fig)[1].z, given.transfer.values[[1, 3]].mean(axis=0))
    with_control = given.transfer.values[[0, 2, 4]].mean(axis=0)
    assert not np.allclose(maps(fig)[0].z, with_control), "the control: the fifth pair is one and would have changed it"


@pytest.mark.parametrize("by", ["position", "segment"])
def test_heatmap_of_one_pair(effects: Maker, by: str) -> None:
    given = effects(by)
    fig = heatmap(given, 1)
    np.testing.assert_array_equal(maps(fig)[0].z, given.transfer.values[1])
    assert "&lt;" in fig.layout.title.text


def test_heatmap_of_bare_token_ids(effects: Maker) -> None:
    bare = effects().drop_vars(["token", "segment", "segment_of", "direction", "control", "source", "target", "item"])
    fig = heatmap(bare)
    np.testing.assert_allclose(maps(fig)[0].z, bare.transfer.mean("pair"))
    assert fig.layout.xaxis.ticktext[-1] == "−1"


def test_gaps_stay_gaps(effects: Maker) -> None:
    given = effects()
    given.transfer[:, :, 0] = np.nan
    z = np.asarray(maps(heatmap(given))[0].z, dtype=float)
    assert np.isnan(z[:, 0]).all()
    assert np.isfinite(z[:, 1:]).all()


def test_what_is_not_there_is_refused(effects: Maker) -> None:
    with pytest.raises(SelfrepError, match=r"no pair 9.*5"):
        heatmap(effects(), 9)
    with pytest.raises(SelfrepError, match="no real pair"):
        heatmap(effects().isel(pair=[4]))
    with pytest.raises(SelfrepError, match="dimensions"):
        heatmap(effects().expand_dims(head=2))
