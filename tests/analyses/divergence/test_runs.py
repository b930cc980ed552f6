"""What a study keeps of Δ, and what it refuses before anything is run."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
import xarray as xr
from tests.analyses.divergence.worlds import world

from selfrep.analyses.analysis import Context
from selfrep.analyses.divergence import DivergencePart
from selfrep.analyses.divergence.estimate import divergence
from selfrep.analyses.divergence.runs import runs
from selfrep.errors import SelfrepError
from selfrep.store.run_directory import RunDirectory
from selfrep.study.study import loads


def test_the_reading_keeps_what_the_estimate_says_of_its_activations(tmp_path: Path) -> None:
    context = Mock(spec=Context, directory=RunDirectory(tmp_path), seed=3)
    (reading,) = runs(context, DivergencePart(item="who_are_you", layers=(0, 2), positions=(-1,)))
    assert set(reading.conditions) == {"you", "user", "neutral"}
    assert (reading.item, reading.layers, reading.positions) == ("who_are_you", (0, 2), (-1,))
    acts = world(readings=["default"], cells=(2, 1))
    assert reading.makes == ("divergence",)
    assert reading.kept == (-1,), "findings are of the last token"
    reading.work(acts)
    xr.testing.assert_allclose(context.directory.read("divergence"), divergence(acts, seed=3))


def test_what_the_material_lacks_is_refused_with_the_study() -> None:
    one = "personas: {define: {nurse: {side: human, neutral: [Here is a text.], descriptions: [a nurse, a medic]}}}\n"
    with pytest.raises(SelfrepError, match="at least two neutral texts"):
        loads(f"name: few\n{one}divergence: {{item: who_are_you}}\n")
    bare = "personas: {define: {nurse: {side: human, descriptions: [a nurse]}}}\n"
    with pytest.raises(SelfrepError, match="'nurse' has one"):
        loads(f"name: few\n{bare}divergence: {{item: who_are_you}}\n")
