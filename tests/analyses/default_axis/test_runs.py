"""λ through a whole run."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.analyses.planted import chapter, described, finish


def test_the_default_lies_at_one_and_everybody_has_a_kind(tmp_path: Path) -> None:
    parts = "default_axis: {item: who_are_you, default: [network]}\n"
    done = finish(described("organism:separate", parts), tmp_path)
    axis = done.read("default_axis").isel(site=0, position=0)
    cell, before = axis.sel(layer=2), axis.sel(layer=0)  # the persona is gathered at the last token in block 2
    assert float(cell.estimate.sel(who="default")) == pytest.approx(1)
    assert not before.identified
    assert before.estimate.isnull().all()
    assert "no axis to speak of" in str(before.reason.values)
    kinds = dict(zip(cell.who.values, cell.kind.values, strict=True))
    assert kinds["unprompted"] == "unprompted"
    assert kinds["default"] == kinds["user: default"] == "default"
    assert kinds["nurse"] == kinds["user: nurse"] == "human"
    assert set(done.groups()) == {"activations/default_axis", "behaviour", "default_axis", "items"}
    chapter(done, "default_axis", "default_axis")
