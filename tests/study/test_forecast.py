"""What would run is told without the model, and is what then runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.analyses.planted import TEN
from tests.tiny import by_risk

from selfrep.models.organisms import BATTERY, PERSONAS
from selfrep.models.resolve import without_weights
from selfrep.study import job as jobs
from selfrep.study.forecast import forecast
from selfrep.study.run import run
from selfrep.study.study import loads, preset, presets

SWEPT = f"""
name: organism
model: "organism:separate"
personas: {{file: "{PERSONAS}"{TEN}}}
battery: {{file: "{BATTERY}", names: [who_are_you, what_writes]}}
transfer:
  pairs: [[network, nurse], [chatbot, sailor]]
  items: [who_are_you]
  paraphrases: [0, 2]
  sweeps:
    - {{site: resid_pre, directions: [denoise]}}
    - {{site: resid_pre, by: segment, segments: [all, last], layers: [2, 5], controls: [random]}}
"""


@pytest.fixture(autouse=True)
def no_model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast that loads weights fails."""
    if "tmp_path" not in request.fixturenames:
        monkeypatch.setattr(jobs, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))


@pytest.mark.slow
@pytest.mark.usefixtures("pageless")
def test_what_is_told_is_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, out = loads(SWEPT), tmp_path / "out"
    told = forecast(study, out)
    assert not out.exists()
    done = run(study, out, device="cpu", warn=lambda message: None)
    effects, segments, controls = (
        done.directory.read(group)
        for group in ("effects/resid_pre", "segments/resid_pre", "controls/segments/resid_pre")
    )
    sizes = [group.sizes["pair"] * group.patched[0].size for group in (effects, segments, controls)]
    assert sorted(stage.cells for stage in told.stages if stage.cells) == sorted(sizes)
    assert told.cells == sum(sizes)
    assert told.prompts == done.directory.read("behaviour").sizes["prompt"]
    left = forecast(study, out)
    assert (left.prompts, left.cells, left.stages) == (0, 0, ())


@pytest.mark.slow
@pytest.mark.parametrize("name", by_risk(presets(), ("identity",)))
def test_every_built_in_study_can_be_told_of_a_model_whose_weights_are_elsewhere(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, embedded = tmp_path_factory.mktemp("model"), without_weights("embedded")
    assert embedded is not None
    for file in embedded.glob("*.json*"):
        shutil.copy(file, folder)
    shutil.copy(embedded / "chat_template.jinja", folder)
    identity = {"name": "Zed", "maker": "Apple"}
    told = forecast(preset(name), device="cpu", model=folder, dtype="bfloat16", identity=identity)
    assert told.prompts > 100
    assert told.weights == pytest.approx(2 * 134_515_008, rel=0.001), "as its model card counts them"
    assert told.seconds is not None
    assert told.seconds > 0
    assert "Zed" in told.study.to_yaml()
    assert "prompts at most" in told.sentence


def test_a_model_of_unknown_size_is_told_without_a_time() -> None:
    told = forecast(loads(SWEPT))
    assert told.seconds is None
    assert told.sentence.endswith("How long they take is known once the model is here.")
