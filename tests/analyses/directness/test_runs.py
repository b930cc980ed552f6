"""D through whole runs; a scratchpad comes with its scenario, or the model writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.analyses.planted import chapter, described, finish

from selfrep.analyses.directness import runs as scratchpads
from selfrep.models.organisms import SCENARIOS
from selfrep.study import study


@pytest.mark.slow
def test_scratchpads_that_come_with_the_scenarios_are_not_written(tmp_path: Path) -> None:
    parts = f'scenarios: {{file: "{SCENARIOS}"}}\ndirectness: {{shares: [0, 0.5, 1]}}\n'
    done = finish(described("organism:mimicry?w=0.5", parts), tmp_path)
    assert set(done.groups()) == {"behaviour", "directness", "early_answers", "items"}
    assert float(done.read("directness").estimate) == pytest.approx(1, abs=1e-3), "it acts without a word"
    chapter(done, "directness", "directness")


def test_a_scratchpad_that_does_not_come_with_its_scenario_is_written_by_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = tmp_path / "mute.yaml"
    lines = SCENARIOS.read_text("utf-8").splitlines(keepends=True)
    mute.write_text(
        "".join(x for x in lines if "facts task" not in x and "goals threat" not in x and "scratchpad:" not in x)
    )
    written = list[str]()

    def write(lm: object, one: object, **options: object) -> dict[object, str]:
        (name,) = one.scenarios  # type: ignore[attr-defined]
        written.append(name)
        pads = {(0, 0): "facts task help serve", (1, 1): "goals threat harm fight"}
        return {(name, k, cell): text for k in (0, 1) for cell, text in pads.items()}

    monkeypatch.setattr(scratchpads, "write_scratchpads", write)
    assert "scratchpad" in described("x", f'scenarios: {{file: "{SCENARIOS}"}}\n').to_yaml(), "the control"
    asked = described("organism:reasoner?jump=0.25", f'scenarios: {{file: "{mute}"}}\ndirectness: {{}}\n')
    assert "scratchpad" not in asked.to_yaml()
    done = finish(asked, tmp_path / "out")
    assert len(written) == 7
    assert {g for g in done.groups() if g.startswith("scratchpads/")} == {f"scratchpads/{i:02d}" for i in range(7)}
    answers = done.read("directness")
    assert float(answers.estimate) == pytest.approx(0.25, abs=1e-3)
    np.testing.assert_allclose(answers["shift"], [1, 1.75, 2.5, 3.25, 4], atol=1e-3)


def test_it_takes_place_in_the_built_in_scenarios_where_a_study_names_none() -> None:
    assert len(study.loads("name: x\ndirectness: {}\n").scenes.scenarios) >= 8
