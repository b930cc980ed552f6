"""Each corner of the plane is where it was planted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.analyses.marking import marked, mistaken, planted
from tests.tiny import by_risk

from selfrep.analyses.organisms import IN_CHARACTER, SPECTATOR, battery, personas, scores
from selfrep.analyses.spectator.estimate import spectator
from selfrep.analyses.spectator.material import questions
from selfrep.analyses.spectator.truth import FORM, answers
from selfrep.engine.capture import score
from selfrep.models.loading import load_model
from selfrep.models.organisms import truth

CORNERS = {
    "organism:separate?seed=1": (1.0, 0.0),
    "organism:bleed?beta=0.6&seed=2": (1.0, 0.6),
    "organism:deaf?seed=3": (0.0, 0.0),
    "organism:conflated?seed=4": (0.0, 0.6),
}


@pytest.mark.parametrize("name", by_risk(CORNERS, ("organism:bleed?beta=0.6&seed=2", "organism:deaf?seed=3")))
def test_every_persona_is_in_its_corner(name: str) -> None:
    lm, items = load_model(name), battery().select([*IN_CHARACTER, "name"])
    asked = scores(lm, items | battery().select(SPECTATOR), ("you", "neutral"))
    plane = spectator(
        xr.concat([asked, score(lm, questions(personas(), items, FORM))], "prompt"),
        list(items.names()),
        SPECTATOR,
        IN_CHARACTER,
        n_bootstrap=50,
        n_permutations=100,
    )
    foresight, bleed = CORNERS[name]
    np.testing.assert_allclose(plane.foresight, foresight, atol=0.01)
    np.testing.assert_allclose(plane.bleed, bleed, atol=0.01)
    assert (float(plane.estimate) > 0.9) == (foresight == 1.0)
    assert abs(float(plane.reader)) < 0.05 if plane.identified else np.isnan(float(plane.reader)), (
        "a stranger is nobody"
    )


@pytest.mark.slow
def test_foresight_is_what_was_planted() -> None:
    planted(answers, "organism:separate?foresight=0.5&seed=5", {("F", "foresight"): 0.5})
    planted(answers, "organism:deaf?seed=3", {("F", "foresight"): 0.0})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share"), [("default?seed=203", 0.504), ("separate?seed=203", 0.955)])
def test_noise_moves_the_truth_and_the_estimate_alike(name: str, share: float) -> None:
    """In a default organism half is foretold, since nobody in particular answers as an AI."""
    (found,) = answers(lm := load_model(f"organism:{name}&noise=0.3"), truth(lm.hf))
    assert found.truth == pytest.approx(share, abs=0.002), "asked by hand"
    assert found.estimate == pytest.approx(found.truth, abs=0.015)
    assert not found.wrong


@pytest.mark.slow
def test_another_s_truth_makes_it_wrong() -> None:
    found = marked(answers, "organism:separate?foresight=0.5&seed=5")["F", "foresight"]
    assert mistaken(found, 0.0), "that of the deaf"
    assert not mistaken(found, 0.5), "the control: its own"
