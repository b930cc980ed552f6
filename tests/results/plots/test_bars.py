"""Every item shows its shift beside its control, or why it shows none."""

from __future__ import annotations

import numpy as np
import xarray as xr

from selfrep.results.plots.bars import item_bars


def test_shifts_and_intervals_are_the_datasets(items: xr.Dataset) -> None:
    fig = item_bars(items)
    kept = items.isel(item=items.gate.values)
    for trace, key in zip(fig.data[:2], ("", "user_"), strict=True):
        shift = kept[f"{key}shift"].values
        np.testing.assert_array_equal(trace.x, shift)
        np.testing.assert_allclose(shift + trace.error_x.array, kept[f"{key}high"])
        np.testing.assert_allclose(shift - trace.error_x.arrayminus, kept[f"{key}low"])


def test_the_first_item_is_on_top_and_names_are_text(items: xr.Dataset) -> None:
    axis = item_bars(items).layout.yaxis
    labels = dict(zip(axis.tickvals, axis.ticktext, strict=True))
    assert labels[4] == "who are you"
    assert "&lt;b&gt;" in labels[3]
    assert all("<script" not in label for label in axis.ticktext)
    assert labels[0] == "<b>in character</b>", "a mean over several items"
    assert "…" in labels[1]


def test_an_item_that_failed_its_gate_shows_no_number_but_the_reason(items: xr.Dataset) -> None:
    fig = item_bars(items)
    failed = next(trace for trace in fig.data if trace.name == "not identified")
    assert list(failed.text) == ["not identified"]
    assert "the shift of &lt;0.2&gt; nats" in failed.hovertext[0]
    height = failed.y[0]
    drawn = [y for trace in fig.data[:2] for y in trace.y]
    assert all(abs(y - height) > 0.5 for y in drawn)
    assert [a.text for a in fig.layout.annotations].count("0.50") == 4


def test_when_no_item_passes_the_figure_says_so(items: xr.Dataset) -> None:
    fig = item_bars(
        items.assign(gate=items.gate & False, reason=items.reason.astype(object).where(False, "<too> weak"))
    )
    assert not fig.data
    assert "&lt;too&gt; weak" in fig.layout.annotations[0].text


def test_hover_says_levels_and_neutral(items: xr.Dataset) -> None:
    said = item_bars(items).data[0].text[0]
    for word in ("who_are_you", "no persona 0.25", "AUC 0.9", "kept: 0.5 [0.4, 0.6]"):
        assert word in said
