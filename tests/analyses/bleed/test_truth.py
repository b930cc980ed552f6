"""B is the planted share, and nothing where nothing bleeds."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analyses.marking import marked, mistaken, organism, planted

from selfrep.analyses.bleed.truth import answers
from selfrep.analyses.organisms import SPECTATOR, scores


@pytest.mark.slow
def test_b_is_the_planted_share() -> None:
    planted(answers, "organism:bleed?beta=0.25&seed=1", {("B", ""): 0.25})
    planted(answers, "organism:lexical?seed=2", {("B", ""): 0.0})


def test_another_s_truth_makes_it_wrong() -> None:
    found = marked(answers, "organism:lexical?seed=2")["B", ""]
    assert mistaken(found, 0.25), "that of the other"
    assert not mistaken(found, 0.0), "the control: its own"


def test_the_ratio_of_the_shifts_is_not_the_share() -> None:
    (answer,) = marked(answers, "organism:bleed?beta=0.25&seed=1").values()
    assert answer.common == pytest.approx(0.25 / 0.75, abs=2e-3)


def test_an_organism_hears_the_change_of_the_truth_and_not_its_echo() -> None:
    lm, _ = organism("organism:bleed?beta=0.25&seed=1")
    heard = scores(lm, SPECTATOR, ("you", "truth", "echo"))
    you, truth, echo = (heard.log_odds.values[heard.condition.values == name] for name in ("you", "truth", "echo"))
    np.testing.assert_allclose(echo, you, atol=1e-3)
    np.testing.assert_allclose(truth - echo, -2 * 4 * 0.75, atol=1e-3)
