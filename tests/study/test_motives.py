"""M and D through whole runs, scenario by scenario, on models whose motives are planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from selfrep.analyses.directness import runs as scratchpads
from selfrep.analyses.mediation import runs as exchanges
from selfrep.errors import SelfrepError
from selfrep.models.organisms import BATTERY, PERSONAS, SCENARIOS
from selfrep.store.run_directory import RunDirectory
from selfrep.study import run as running
from selfrep.study import study

PARTS = "mediation: {}\ndirectness: {shares: [0, 0.5, 1]}\n"
EXCHANGES = {f"exchanges/{i:02d}" for i in range(7)}


def described(model: str, parts: str = PARTS) -> study.Study:
    return study.loads(
        f'name: planted\nmodel: "{model}"\npersonas: {{file: "{PERSONAS}"}}\nscenarios: {{file: "{SCENARIOS}"}}\n'
        f'battery: {{file: "{BATTERY}", names: [who_are_you]}}\n{parts}'
    )


def run(model: str, folder: Path, parts: str = PARTS) -> RunDirectory:
    return running.run(described(model, parts), folder, device="cpu", warn=lambda message: None)


def test_a_stopped_run_goes_on_and_finds_the_planted_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, exchanged = exchanges.mediation_runs, []

    def once(*args: object, **kwargs: object) -> object:
        if len(exchanged) == 3:
            raise KeyboardInterrupt
        exchanged.append(1)
        return sound(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(exchanges, "mediation_runs", once)
    with pytest.raises(KeyboardInterrupt):
        run("organism:mimicry?w=0.5", tmp_path)
    assert {g for g in RunDirectory(tmp_path).groups() if g.startswith("exchanges/")} == set(sorted(EXCHANGES)[:3])

    calls = []
    monkeypatch.setattr(exchanges, "mediation_runs", lambda *a, **k: calls.append(1) or sound(*a, **k))
    done = run("organism:mimicry?w=0.5", tmp_path)
    assert len(calls) == 4, "what was there is not run again"
    found = done.read("mediation")
    np.testing.assert_allclose(found.estimate, 0.5, atol=0.1)
    np.testing.assert_allclose(found.cells, [[0, 2], [2, 4]], atol=1e-3)
    assert float(done.read("directness").estimate) == pytest.approx(1, abs=1e-3)
    expected = {"behaviour", "directness", "early_answers", "items", "mediation", "proofs", "subspaces"}
    assert set(done.groups()) == expected | EXCHANGES, "scratchpads that come with the scenarios are not written"
    page = done.report.read_text("utf-8")
    for name in ("mediation", "directness"):
        assert f'<section id="{name}"' in page
    for name in ("mediation", "cue_by_stakes", "directness"):
        assert f'data-drawing="drawing-{name}"' in page
    titles = [finding.title for finding in done.findings() if finding.about == "mediation"]
    assert len(titles) == 3
    assert "Before any exchange" in titles[-1]


def test_where_nothing_moves_the_raw_interaction_is_told_all_the_same(tmp_path: Path) -> None:
    done = run("organism:reasoner", tmp_path, "mediation: {}\n")  # acts on scratchpads alone, of which there are none
    shares = [finding for finding in done.findings() if finding.about == "mediation"]
    assert [finding.identified for finding in shares] == [False, True]
    assert shares[0].value is None
    assert "It takes scenarios" in shares[0].reason
    assert shares[1].value == pytest.approx(0, abs=1e-3)


def test_a_scratchpad_that_does_not_come_with_its_scenario_is_written_by_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mute = tmp_path / "mute.yaml"
    lines = SCENARIOS.read_text("utf-8").splitlines(keepends=True)
    mute.write_text(
        "".join(x for x in lines if "facts task" not in x and "goals threat" not in x and "scratchpad:" not in x)
    )
    written = []

    def write(lm: object, one: object, **options: object) -> dict[object, str]:
        (name,) = one.scenarios  # type: ignore[attr-defined]
        written.append(name)
        pads = {(0, 0): "facts task help serve", (1, 1): "goals threat harm fight"}
        return {(name, k, cell): text for k in (0, 1) for cell, text in pads.items()}

    monkeypatch.setattr(scratchpads, "write_scratchpads", write)
    asked = described("organism:reasoner?jump=0.25", "directness: {}\n").to_yaml()
    assert "scratchpad" in asked
    text = asked[: asked.index("scenarios:")] + f'scenarios: {{file: "{mute}"}}\ndirectness: {{}}\n'
    done = running.run(study.loads(text), tmp_path / "out", device="cpu", warn=lambda message: None)
    assert len(written) == 7
    assert {g for g in done.groups() if g.startswith("scratchpads/")} == {f"scratchpads/{i:02d}" for i in range(7)}
    found = done.read("directness")
    assert float(found.estimate) == pytest.approx(0.25, abs=1e-3)
    np.testing.assert_allclose(found["shift"], [1, 1.75, 2.5, 3.25, 4], atol=1e-3)


def test_too_few_scenarios_are_refused_when_the_study_is_read() -> None:
    with pytest.raises(SelfrepError, match=r"at least 6 scenarios.*got 1"):
        study.loads("name: x\nscenarios: {names: [shutdown]}\nmediation: {}\n")
    assert len(study.loads("name: x\ndirectness: {}\n").scenes.scenarios) >= 8
    with pytest.raises(SelfrepError, match="has no scenarios"):
        _ = study.loads("name: x\n").told
