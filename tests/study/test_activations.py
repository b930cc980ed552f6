"""S and λ from one run of the prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.store.run_directory import RunDirectory
from selfrep.study import captures as activations
from selfrep.study import run as running
from selfrep.study import study

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
    assert set(both.read("activations_summary").condition.values) == {"you", "user"}


def test_the_cell_is_chosen_on_one_half_of_the_personas_and_tested_on_the_other(tmp_path: Path) -> None:
    done = run("separation: {item: who_are_you}\n", tmp_path)
    cell, whole = done.read("separation_chosen"), done.read("separation")
    choosing, testing = (set(cell.attrs[half]) for half in ("choosing", "testing"))
    assert not choosing & testing
    assert len(choosing | testing) == 16
    assert int(cell.layer) in whole.layer
    assert cell.estimate.shape == ()
    assert float(cell.p) >= cell.attrs["smallest_p"] == pytest.approx(1 / 35)
    page = done.report.read_text("utf-8")
    assert "Chosen on half of the personas" in page
    assert ", ".join(cell.attrs["testing"]) in page


def test_with_too_few_personas_for_halves_nothing_is_chosen(tmp_path: Path) -> None:
    few = HEAD.replace(
        f'"{PERSONAS}"', f'"{PERSONAS}", names: [robot, network, assistant, oracle, nurse, poet, farmer, sailor]'
    )
    parts = "separation: {item: who_are_you}\n"
    done = running.run(study.loads(few + parts), tmp_path / "out", device="cpu", warn=lambda message: None)
    assert done.has("separation")
    assert not done.has("separation_chosen")


def test_the_default_lies_at_one_and_everybody_has_a_kind(tmp_path: Path) -> None:
    done = run(AXIS, tmp_path)
    found = done.read("default_axis").isel(site=0, position=0)
    cell, before = found.sel(layer=2), found.sel(layer=0)  # the persona is gathered at the last token in block 2
    assert float(cell.estimate.sel(who="default")) == pytest.approx(1)
    assert not before.identified
    assert before.estimate.isnull().all()
    assert "no axis to speak of" in str(before.reason.values)
    assert dict(zip(cell.who.values, cell.kind.values, strict=True))["neutral"] == "neutral"
    page = done.report.read_text("utf-8")
    assert '<section id="default_axis"' in page
    assert 'data-drawing="drawing-default_axis"' in page
