"""D is the planted share; where the stakes move nothing there is none."""

from __future__ import annotations

import numpy as np
from tests.analyses.marking import marked, planted

from selfrep.analyses.directness.truth import answers


def test_d_is_the_planted_share() -> None:
    planted(answers, "organism:reasoner?jump=0.5&seed=4", {("D", ""): 0.5})


def test_what_is_not_defined_is_not_answered() -> None:
    (answer,) = marked(answers, "organism:mimicry?seed=1").values()
    assert answer.truth is None
    assert not answer.identified
    assert not answer.wrong
    assert np.isnan(answer.estimate)
