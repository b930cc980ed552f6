"""Personas stand on their scales at their values; what is not identified gives its reason instead."""

from __future__ import annotations

import numpy as np
import xarray as xr
from plotly.graph_objects import Figure, Scatter

from selfrep.results.plots.scales import default_strip, identification_dots, referent_lines


def traces(fig: Figure, name: str) -> list[Scatter]:
    return [t for t in fig.data if t.name == name]


def test_each_persona_has_a_mark_in_its_kinds_colour_and_its_control(identified: xr.Dataset) -> None:
    fig = identification_dots(identified)
    at = identified.sel(subscale="ai_human")
    for kind, name in (("default", "default"), ("human", "human"), ("fictional_ai", "fictional AI")):
        (marks,) = traces(fig, name)
        np.testing.assert_allclose(marks.x, at.estimate.to_numpy()[at.kind.to_numpy() == kind])
    (control,) = traces(fig, "“the user is X”")
    assert sorted(control.x) == sorted(at.user_is.to_numpy())
    assert "<script>" not in fig.to_json()


def test_a_subscale_that_is_not_identified_is_only_named(identified: xr.Dataset) -> None:
    fig = identification_dots(identified)
    assert len(traces(fig, "default")) == 1
    assert "Not identified: maker, no item" in fig.layout.meta["caption"]
    closed = identified.assign(gate=identified.gate & False)
    assert "Not identified" in identification_dots(closed).layout.annotations[0].text


def test_referents_are_a_line_a_persona_and_the_means(identified: xr.Dataset, slopes: xr.Dataset) -> None:
    fig = referent_lines(identified, slopes)
    chosen = identified.estimate.sel(subscale=slopes.attrs["referents"])
    (default,) = traces(fig, "default")
    np.testing.assert_allclose(default.y, chosen.sel(persona="smollm"))
    (mean,) = traces(fig, "mean, “you are X”")
    np.testing.assert_allclose(mean.y, chosen.mean("persona"))
    closed = slopes.assign(gate=slopes.gate & False, reason=("series", ["deaf"]))
    assert "deaf" in referent_lines(identified, closed).layout.annotations[0].text


def test_everybody_is_placed_on_the_axis(axis: xr.Dataset) -> None:
    fig = default_strip(axis, 3)
    placed = axis.estimate.isel(site=0, position=0).sel(layer=3)
    for name, voice in (("“you are X”", "you"), ("“the user is X”", "user"), ("no persona", "neutral")):
        (marks,) = traces(fig, name)
        np.testing.assert_allclose(marks.x, placed.to_numpy()[axis.voice.to_numpy() == voice])
    assert "<script>" not in fig.to_json()
    assert "no &lt;axis&gt;" in default_strip(axis, 0).layout.annotations[0].text
