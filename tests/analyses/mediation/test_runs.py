"""M through whole runs, scenario by scenario, on models whose motives are planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.analyses.planted import chapter, described, finish

from selfrep.analyses.mediation import runs as exchanges
from selfrep.errors import SelfrepError
from selfrep.models.organisms import SCENARIOS
from selfrep.prompts.scenarios import Scenarios
from selfrep.store.run_directory import RunDirectory
from selfrep.study import study

PARTS = f'scenarios: {{file: "{SCENARIOS}"}}\nmediation: {{}}\n'
EXCHANGES = {f"exchanges/{i:02d}" for i in range(7)}


@pytest.mark.slow
def test_a_stopped_run_goes_on_and_gives_the_planted_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = described("organism:mimicry?w=0.5", PARTS)
    sound, first, calls = exchanges.mediation_runs, list[xr.Dataset](), list[str]()

    def alike(lm: object, scenes: Scenarios, *given: object, **how: object) -> xr.Dataset:
        """The organism takes all scenarios alike: the exchanges of the first, which take a second, stand for all."""
        calls.extend(scenes.scenarios)
        if not first:
            first.append(sound(lm, scenes, *given, **how))  # type: ignore[arg-type]
        return first[0].assign_coords(scenario=list(scenes.scenarios))

    def stopping(*given: object, **how: object) -> xr.Dataset:
        if len(calls) == 3:
            raise KeyboardInterrupt
        return alike(*given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(exchanges, "mediation_runs", stopping)
    with pytest.raises(KeyboardInterrupt):
        finish(asked, tmp_path)
    assert {g for g in RunDirectory(tmp_path).groups() if g.startswith("exchanges/")} == set(sorted(EXCHANGES)[:3])

    monkeypatch.setattr(exchanges, "mediation_runs", alike)
    done = finish(asked, tmp_path)
    assert len(calls) == len(set(calls)) == 7, "what was there is not run again"
    shares = done.read("mediation")
    np.testing.assert_allclose(shares.estimate, 0.5, atol=0.1)
    np.testing.assert_allclose(shares.cells, [[0, 2], [2, 4]], atol=1e-3)
    assert set(done.groups()) == {"behaviour", "items", "mediation", "proofs", "subspaces"} | EXCHANGES
    chapter(done, "mediation", "mediation", "cue_by_stakes")
    titles = [finding.title for finding in done.findings() if finding.about == "mediation"]
    assert len(titles) == 3
    assert "Before any exchange" in titles[-1]


@pytest.mark.slow  # what it computes is tested on arrays, and how a run goes above
def test_where_nothing_moves_the_raw_interaction_is_told_all_the_same(tmp_path: Path) -> None:
    done = finish(described("organism:reasoner", PARTS), tmp_path)  # acts on scratchpads alone: here are none
    shares = [finding for finding in done.findings() if finding.about == "mediation"]
    assert [finding.identified for finding in shares] == [False, True]
    assert shares[0].value is None
    assert "It takes scenarios" in shares[0].reason
    assert shares[1].value == pytest.approx(0, abs=1e-3)


def test_too_few_scenarios_are_refused_when_the_study_is_read() -> None:
    with pytest.raises(SelfrepError, match=r"at least 6 scenarios.*got 1"):
        study.loads("name: x\nscenarios: {names: [shutdown]}\nmediation: {}\n")
    assert len(study.loads("name: x\nmediation: {}\n").scenes.scenarios) >= 6, "the built-in ones are enough"
