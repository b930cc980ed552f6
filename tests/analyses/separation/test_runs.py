"""S through whole runs: over all personas, and at a place that half of them chose for the other half."""

from __future__ import annotations

import pytest

from selfrep.store.run_directory import RunDirectory


def test_the_cell_is_chosen_on_one_half_of_the_personas_and_tested_on_the_other(rich: RunDirectory) -> None:
    cell, whole = rich.read("separation_chosen"), rich.read("separation")
    choosing, testing = (set(cell.attrs[half]) for half in ("choosing", "testing"))
    assert not choosing & testing
    assert len(choosing | testing) == 16
    assert int(cell.layer) in whole.layer
    assert cell.estimate.shape == ()
    assert float(cell.p) >= cell.attrs["smallest_p"] == pytest.approx(1 / 35)
    page = rich.report.read_text("utf-8")
    assert "Chosen on half of the personas" in page
    assert f"Chosen on {len(choosing)} personas, tested on {len(testing)}." in page


def test_with_too_few_personas_for_halves_nothing_is_chosen(apart: RunDirectory) -> None:
    assert apart.has("separation")
    assert not apart.has("separation_chosen")
