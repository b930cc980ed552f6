"""λ through a whole run."""

from __future__ import annotations

import pytest
from tests.analyses.planted import chapter

from selfrep.store.run_directory import RunDirectory


def test_the_default_lies_at_one_and_everybody_has_a_kind(apart: RunDirectory) -> None:
    axis = apart.read("default_axis").isel(site=0, position=0)
    cell, before = axis.sel(layer=2), axis.sel(layer=0)  # the persona is gathered at the last token in block 2
    assert float(cell.estimate.sel(who="default")) == pytest.approx(1)
    assert not before.identified
    assert before.estimate.isnull().all()
    assert "no axis to speak of" in str(before.reason.values)
    kinds = dict(zip(cell.who.values, cell.kind.values, strict=True))
    assert kinds["unprompted"] == "unprompted"
    assert kinds["default"] == kinds["user: default"] == "default"
    assert kinds["nurse"] == kinds["user: nurse"] == "human"
    chapter(apart, "default_axis", "default_axis")
