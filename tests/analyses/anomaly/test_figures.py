"""Slopes hold the cell means, whether or not A is identified."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr
from tests.plots.reading import labels, legend, named, note
from tests.report.groups import GROUPS, decimals

from selfrep.analyses.anomaly.figures import anomaly_interaction
from selfrep.plots.theme import OWN, SOFT
from selfrep.stats.numbers import number


@pytest.fixture
def noticed() -> xr.Dataset:
    cells = np.arange(8.0).reshape(2, 2, 2)  # [form, who, setting]
    return xr.Dataset(
        {"cells": (("form", "who", "setting"), cells)}
        | {"identified": ("form", [True, False]), "reason": ("form", ["", "<deaf>"])}
        | {name: ("form", [value, 0.4]) for name, value in (("raw", 1.5), ("raw_ci_low", 1.0), ("raw_ci_high", 2.0))},
        coords={"form": ["persona", "spectator"], "who": ["persona", "assistant"], "setting": ["strange", "ordinary"]},
        attrs={"n_personas": 8},
    )  # fmt: skip


def texts(fig: go.Figure) -> str:
    return " ".join(str(note.text) for note in fig.layout.annotations)


def test_each_form_has_its_slopes_from_the_ordinary_to_the_strange(noticed: xr.Dataset) -> None:
    fig = anomaly_interaction(noticed)
    lines = {(trace.name, trace.xaxis): list(trace.y) for trace in fig.data}
    assert lines["persona", "x"] == [1, 0]
    assert lines["plain assistant", "x"] == [3, 2]
    assert lines["persona", "x2"] == [5, 4]
    assert "A = 1.5 [1, 2]" in texts(fig)
    assert "A not identified; raw 0.4" in texts(fig)
    assert sum(bool(trace.showlegend) for trace in fig.data) == 2


def test_without_numbers_the_reasons_stand_there(noticed: xr.Dataset) -> None:
    fig = anomaly_interaction(noticed.assign(cells=noticed.cells * np.nan))
    assert "&lt;deaf&gt;" in texts(fig)


def test_slopes_run_from_the_ordinary_to_the_strange_in_their_look_and_panel() -> None:
    group = GROUPS["anomaly"].assign(identified=("form", [True, False]))
    fig = anomaly_interaction(group)
    assert legend(fig) == ["persona", "plain assistant"]
    for panel, form, heading in (("x", "persona", "asked itself"), ("x2", "spectator", "asked from outside")):
        at = group.sel(form=form)
        assert note(fig, f"<b>{heading}</b>").xref == f"{panel} domain"
        assert labels(fig.layout[panel.replace("x", "xaxis")]) == {0: "ordinary thing", 1: "anachronism"}
        (said,) = (a for a in fig.layout.annotations if a.text.startswith("A ") and a.xref == f"{panel} domain")
        assert said.text.startswith("A = ") == (form == "persona")
        np.testing.assert_allclose(decimals(said.text), [float(at[k]) for k in ("raw", "raw_ci_low", "raw_ci_high")])
        for name, who, colour, dash in (
            ("persona", "persona", OWN, "solid"),
            ("plain assistant", "assistant", SOFT, "dash"),
        ):
            line, cells = named(fig, name, panel), at.cells.sel(who=who, setting=["ordinary", "strange"])
            assert list(line.x) == [0, 1]
            np.testing.assert_array_equal(line.y, cells)
            assert (line.line.color, line.marker.color, line.line.dash) == (colour, colour, dash)
            for text, value, end in zip(line.text, cells.values, ("ordinary thing", "anachronism"), strict=True):
                assert text == f"<b>{name}, {end}: {number(float(value))} nats</b>"
    low, high = fig.layout.yaxis.range
    assert low < group.cells.min() < group.cells.max() < high
    assert fig.layout.yaxis.title.text == "log odds of “strange” (nats)"
    assert "57 personas" in fig.layout.title.text
