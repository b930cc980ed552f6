"""A through a whole run: what is planted comes back, and what is not identified says so in its chapter."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.analyses.planted import chapter, described, finish

from selfrep.models.organisms import ANOMALIES


@pytest.mark.slow
def test_what_a_blind_persona_does_not_notice_the_spectator_does(tmp_path: Path) -> None:
    done = finish(described("organism:blind", f'anomaly: {{file: "{ANOMALIES}"}}\n', personas=""), tmp_path)
    response = done.read("anomaly")
    assert response.identified.all()
    assert float(response.estimate.sel(form="persona")) == pytest.approx(0, abs=1e-3)
    assert float(response.estimate.sel(form="spectator")) == pytest.approx(4, abs=1e-3)
    assert set(done.groups()) == {"anomaly", "behaviour", "items", "scenes"}
    chapter(done, "anomaly", "anomaly")
    asked, outside = [finding for finding in done.findings() if finding.about == "anomaly"]
    assert asked.value == pytest.approx(0, abs=1e-3)
    assert outside.value == pytest.approx(4, abs=1e-3)
    assert "it can tell" in asked.control
