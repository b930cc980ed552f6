"""Shares are drawn where they stand, beside their control; what is not identified is named and not drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from plotly.graph_objects import Figure
from tests.plots.reading import ends, labels, legend, named, note, rules
from tests.report.groups import GROUPS, decimals

from selfrep.plots import rows
from selfrep.plots.shares import binding_shares, bleed_shares
from selfrep.plots.theme import CONTROL, OWN


def bound(shares: xr.Dataset) -> xr.Dataset:
    return shares.expand_dims(contrast=["between sides"], axis=1)


@pytest.mark.parametrize("draw", ["binding", "bleed"])
def test_every_identified_share_stands_at_its_value_with_its_interval(draw: str, shares: xr.Dataset) -> None:
    fig = binding_shares(bound(shares)) if draw == "binding" else bleed_shares(shares)
    marks = named(fig, "R" if draw == "binding" else "“you are X”")
    there = shares.identified.to_numpy()
    np.testing.assert_allclose(marks.x, shares.estimate.to_numpy()[there])
    np.testing.assert_allclose(np.add(marks.x, marks.error_x.array), shares.ci_high.to_numpy()[there])
    np.testing.assert_allclose(np.subtract(marks.x, marks.error_x.arrayminus), shares.ci_low.to_numpy()[there])
    if draw == "bleed":
        np.testing.assert_allclose(named(fig, "“the user is X”").x, shares.user_is.to_numpy()[there])


def test_what_is_not_identified_is_marked_with_its_reason_and_names_are_escaped(shares: xr.Dataset) -> None:
    fig = bleed_shares(shares)
    page = fig.to_json()
    assert "not identified" in page
    assert "&lt;0.2&gt; nats" in page
    assert "<script>" not in page


def test_where_nothing_is_identified_the_reason_is_all_there_is(shares: xr.Dataset) -> None:
    closed = shares.assign(identified=shares.identified & False, reason=("item", ["deaf"] * 4))
    for fig in (binding_shares(bound(closed)), bleed_shares(closed)):
        assert not fig.data
        assert "all third person: deaf" in fig.layout.annotations[0].text


YOU = ("estimate", "ci_low", "ci_high")
USER = ("user_is", "user_is_ci_low", "user_is_ci_high")


@pytest.mark.parametrize(
    ("draw", "looks", "hover", "between", "axis"),
    [
        (
            lambda: binding_shares(GROUPS["binding"]),
            [("R", YOU, OWN, "circle", 0.0)],
            ("you_shift", "user_shift", "p"),
            ("the words do it all", "only who speaks counts"),
            "R, the share bound to the speaker",
        ),
        (
            lambda: bleed_shares(GROUPS["bleed"]),
            [
                ("“you are X”", YOU, OWN, "circle", rows.APART),
                ("“the user is X”", USER, CONTROL, "diamond-open", -rows.APART),
            ],
            ("persona_shift", "truth_shift", "p"),
            ("separate", "conflated"),
            "B, persona / (persona + truth)",
        ),
    ],
    ids=["binding", "bleed"],
)
def test_marks_lines_and_words_stand_where_their_numbers_are(
    draw: Callable[[], Figure], looks: list[Any], hover: tuple[str, ...], between: tuple[str, str], axis: str
) -> None:
    fig = draw()
    group = GROUPS["binding"].sel(contrast="between sides") if len(looks) == 1 else GROUPS["bleed"]
    for name, keys, colour, symbol, up in looks:
        marks = named(fig, name)
        for drawn, key in zip((marks.x, *ends(marks)), keys, strict=True):
            np.testing.assert_allclose(drawn, group[key])
        np.testing.assert_allclose(marks.y, np.array([2, 1, 0]) + up)
        assert (marks.marker.color, marks.error_x.color, marks.marker.symbol) == (colour, colour, symbol)
        for k, text in enumerate(marks.text):
            np.testing.assert_allclose(decimals(text), [float(group[key][k]) for key in (*keys, *hover)], rtol=1e-9)
            assert text.count(" nats") == 2
    assert legend(fig) == ([] if len(looks) == 1 else [name for name, *_ in looks])
    assert [labels(fig.layout.yaxis)[y].strip("</b>")[:3] for y in (2, 1, 0)] == [
        str(name)[:3] for name in group["item"].values
    ]
    assert {("x", 0.0), ("x", 1.0)} <= rules(fig)
    for x, words, side in zip((0, 1), between, ("left", "right"), strict=True):
        assert (note(fig, words).x, note(fig, words).xanchor) == (x, side), "each end's words, between the two lines"
    assert fig.layout.xaxis.title.text == axis
    low, high = fig.layout.xaxis.range
    drawn = np.concatenate([group[key].values for _, keys, *_ in looks for key in keys])
    assert low < min(0, drawn.min()) < max(1, drawn.max()) < high
