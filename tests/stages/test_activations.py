"""S and λ from one run of the prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from selfrep import run as running
from selfrep import study
from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.results.store import RunDirectory
from selfrep.stages import activations

HEAD = f"""
name: planted
model: "organism:separate"
personas: {{file: "{PERSONAS}"}}
battery: {{file: "{BATTERY}", names: [who_are_you]}}
"""
AXIS = "default_axis: {item: who_are_you, default: [network]}\n"
BOTH = "separation: {item: who_are_you}\n" + AXIS


def run(parts: str, folder: Path) -> RunDirectory:
    return running.run(study.loads(HEAD + parts), folder / "out", device="cpu", warn=lambda message: None)


def test_prompts_are_captured_once_for_both_and_give_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, calls = activations.capture, []

    def capture(*args: object, **kwargs: object) -> xr.Dataset:
        calls.append(1)
        return sound(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(activations, "capture", capture)
    both = run(BOTH, tmp_path / "both")
    assert len(calls) == 1
    alone = run(AXIS, tmp_path / "alone")
    assert len(calls) == 2
    xr.testing.assert_allclose(both.read("default_axis").estimate, alone.read("default_axis").estimate)
    assert not alone.has("separation")
    assert set(both.read("activations_summary").voice.values) == {"you", "user"}


def test_the_default_lies_at_one_and_everybody_has_a_kind(tmp_path: Path) -> None:
    done = run(AXIS, tmp_path)
    found = done.read("default_axis").isel(site=0, position=0)
    cell, before = found.sel(layer=2), found.sel(layer=0)  # the persona is gathered at the last token in block 2
    assert float(cell.estimate.sel(who="default")) == pytest.approx(1)
    assert not before.gate
    assert before.estimate.isnull().all()
    assert "no axis to speak of" in str(before.reason.values)
    assert dict(zip(cell.who.values, cell.kind.values, strict=True))["neutral"] == "neutral"
    page = done.report.read_text("utf-8")
    assert '<section id="default_axis"' in page
    assert 'data-drawing="drawing-default_axis"' in page
