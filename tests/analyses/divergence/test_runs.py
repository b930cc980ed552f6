"""Δ through a whole run, sharing its activations with the separation."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.analyses.planted import described, finish

from selfrep.errors import SelfrepError
from selfrep.study.study import loads

PARTS = "divergence: {item: who_are_you, layers: [0, 2], positions: [-1]}\n"


def test_a_run_holds_the_distances_and_tells_them(tmp_path: Path) -> None:
    done = finish(described("organism:separate", PARTS), tmp_path)
    found = done.read("divergence")
    assert found.reference.values.tolist() == ["unprompted", "default", "reductionist"]
    assert found.position.values.tolist() == [-1]
    assert found.sizes["persona"] == 16
    page = done.report.read_text("utf-8")
    assert "How far does each persona lie from the model’s own self?" in page
    assert (done.figures / "divergence_profile.html").is_file()


def test_what_the_material_lacks_is_refused_with_the_study() -> None:
    one = "personas: {define: {nurse: {side: human, neutral: [Here is a text.], descriptions: [a nurse, a medic]}}}\n"
    with pytest.raises(SelfrepError, match="at least two neutral texts"):
        loads(f"name: few\n{one}divergence: {{item: who_are_you}}\n")
    bare = "personas: {define: {nurse: {side: human, descriptions: [a nurse]}}}\n"
    with pytest.raises(SelfrepError, match="'nurse' has one"):
        loads(f"name: few\n{bare}divergence: {{item: who_are_you}}\n")
