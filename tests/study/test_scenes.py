"""A through a whole run: what is planted comes back, and what is not identified says so in its chapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfrep.models.organisms import ANOMALIES, BATTERY, PERSONAS
from selfrep.store.run_directory import RunDirectory
from selfrep.study import run as running
from selfrep.study import study

TEXT = f"""
name: planted
personas: {{file: "{PERSONAS}"}}
battery: {{file: "{BATTERY}", names: [who_are_you]}}
anomaly: {{file: "{ANOMALIES}"}}
"""


def run(model: str, folder: Path) -> RunDirectory:
    return running.run(study.loads(f'model: "{model}"\n{TEXT}'), folder, device="cpu", warn=lambda message: None)


def test_what_a_blind_persona_does_not_notice_the_spectator_does(tmp_path: Path) -> None:
    done = run("organism:blind", tmp_path)
    found = done.read("anomaly")
    assert found.identified.all()
    assert float(found.estimate.sel(form="persona")) == pytest.approx(0, abs=1e-3)
    assert float(found.estimate.sel(form="spectator")) == pytest.approx(4, abs=1e-3)
    assert set(done.groups()) == {"anomaly", "behaviour", "items", "scenes"}
    page = done.report.read_text("utf-8")
    assert '<section id="anomaly"' in page
    assert 'data-drawing="drawing-anomaly"' in page
    asked, outside = [finding for finding in done.findings() if finding.about == "anomaly"]
    assert asked.value == pytest.approx(0, abs=1e-3)
    assert outside.value == pytest.approx(4, abs=1e-3)
    assert "it can tell" in asked.control


def test_a_stopped_run_asks_only_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from selfrep.study import job as stage

    sound, asked = stage.score, []

    def score(lm: object, prompts: list[object], **how: object) -> object:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return sound(lm, prompts, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(stage, "PROMPTS_AT_ONCE", 100)
    monkeypatch.setattr(stage, "score", score)
    with pytest.raises(KeyboardInterrupt):
        run("organism:noticing", tmp_path)
    monkeypatch.setattr(stage, "score", sound)
    done = run("organism:noticing", tmp_path)
    assert float(done.read("anomaly").estimate.sel(form="persona")) == pytest.approx(4, abs=1e-3)
