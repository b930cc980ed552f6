"""Slopes hold the cell means, whether or not the estimate is identified; the estimate is named only where it is."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from selfrep.results.plots.interactions import anomaly_interaction, cue_by_stakes


@pytest.fixture
def noticed() -> xr.Dataset:
    cells = np.arange(8.0).reshape(2, 2, 2)  # [form, who, setting]
    return xr.Dataset(
        {"cells": (("form", "who", "setting"), cells)}
        | {"gate": ("form", [True, False]), "reason": ("form", ["", "<deaf>"])}
        | {name: ("form", [value, 0.4]) for name, value in (("raw", 1.5), ("raw_low", 1.0), ("raw_high", 2.0))},
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


def test_the_four_cells_are_drawn_as_two_slopes() -> None:
    raw = {"cue_by_stakes": 1.0, "cue_by_stakes_low": 0.5, "cue_by_stakes_high": 1.5}
    found = xr.Dataset(
        {"cells": (("cue", "stakes"), [[0.0, 2.0], [1.0, 4.0]])} | {name: ((), v) for name, v in raw.items()},
        coords={"cue": [0, 1], "stakes": [0, 1]},
        attrs={"n_scenarios": 8},
    )
    fig = cue_by_stakes(found)
    assert {trace.name: list(trace.y) for trace in fig.data} == {
        "something at stake": [2, 4],
        "nothing at stake": [0, 1],
    }
    assert "raw interaction 1 [0.5, 1.5] nats" in texts(fig)
