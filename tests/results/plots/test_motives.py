"""Paths add up to the total and are drawn only where M stands; the curve of D always is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.results.plots.motives import directness_curve, mediation_paths


@pytest.fixture
def paths() -> xr.Dataset:
    phi = np.array([[[1.0, 2.0, 0.5]], [[0.8, 2.2, 0.5]]])
    share = np.array([[1 / 3], [np.nan]])
    return xr.Dataset(
        dict.fromkeys(("phi", "phi_low", "phi_high"), (("order", "donor", "path"), phi))
        | dict.fromkeys(("estimate", "low", "high"), (("order", "donor"), share))
        | {"gate": (("order", "donor"), [[True], [False]]), "reason": (("order", "donor"), [[""], ["P is <idle>"]])}
        | {"random": (("order", "donor", "mediator"), np.full((2, 1, 2), 0.25))},
        coords={"order": ["P first", "S first"], "donor": ["both"], "path": ["P", "S", "direct"],
                "mediator": ["P", "S"]},
    )  # fmt: skip


def test_bars_stack_to_the_total_in_either_order(paths: xr.Dataset) -> None:
    fig = mediation_paths(paths)
    assert [bar.name for bar in fig.data] == ["through the fictional AI", "through self and goals", "through neither"]
    np.testing.assert_allclose(np.sum([bar.x for bar in fig.data], axis=0), 3.5)
    said = [str(note.text) for note in fig.layout.annotations]
    assert said[0].startswith("M = 0.333")
    assert "not identified: P is &lt;idle&gt;" in said[1]
    assert all("random subspaces reach 0.25, 0.25 nats" in text for text in said)


def test_no_bar_is_drawn_where_no_order_is_identified(paths: xr.Dataset) -> None:
    closed = paths.assign(gate=paths.gate & False, reason=paths.reason.where(~paths.gate, "too small"))
    fig = mediation_paths(closed)
    assert not fig.data
    assert "Not identified" in fig.layout.annotations[0].text


@pytest.mark.parametrize("gate", [True, False])
def test_the_curve_shows_the_shift_and_names_d_only_where_it_stands(gate: bool) -> None:
    d = 0.25 if gate else np.nan
    shift = np.array([1.0, 2.0, 4.0])
    found = xr.Dataset(
        {"shift": ("share", shift), "shift_low": ("share", shift - 1), "shift_high": ("share", shift + 1)}
        | dict.fromkeys(("estimate", "low", "high"), ((), d))
        | {"gate": ((), gate), "reason": ((), ""), "paraphrase_sd": ((), 0.5)},
        coords={"share": [0.0, 0.5, 1.0]},
    )
    fig = directness_curve(found)
    (line,) = [trace for trace in fig.data if trace.name.startswith("shift")]
    assert list(line.y) == [1, 2, 4]
    assert ("D = 0.25" in fig.layout.title.text) == gate
    assert ("not identified" in fig.layout.title.text) == (not gate)
