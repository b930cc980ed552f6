"""The spectator through a whole run: what is planted comes back, with its chapter and its figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.analyses.planted import chapter, described, finish

from selfrep.analyses.spectator.truth import FORM
from selfrep.models.organisms import BATTERY

ASKED = f'{{file: "{BATTERY}", names: [who_are_you, who_in_danger, name, what_writes]}}'
PART = "spectator: {form: {" + ", ".join(f'{k}: "{v}"' for k, v in FORM.model_dump().items()) + "}}\n"


@pytest.mark.slow
def test_what_was_planted_is_told(tmp_path: Path) -> None:
    done = finish(described("organism:bleed?beta=0.5", PART, battery=ASKED), tmp_path)
    plane = done.read("spectator")
    assert plane.identified
    np.testing.assert_allclose(plane.foresight, 1.0, atol=0.01)
    page = chapter(done, "spectator", "spectator")
    agreement, ahead = [finding for finding in done.findings() if finding.about == "spectator"]
    assert agreement.value == pytest.approx(float(plane.estimate))
    assert "somebody who has only read" in agreement.control
    assert ahead.value == 1.0
    assert "nan" not in (agreement.control + agreement.how_sure + ahead.control).lower()
    assert "Does the model foresee the persona" in page
