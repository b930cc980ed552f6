"""B is the planted share, and nothing where nothing bleeds."""

from __future__ import annotations

import pytest
from tests.analyses.marking import marked, planted

from selfrep.analyses.bleed.truth import answers


def test_b_is_the_planted_share() -> None:
    planted(answers, "organism:bleed?beta=0.25&seed=1", {("B", ""): 0.25})
    planted(answers, "organism:lexical?seed=2", {("B", ""): 0.0})


def test_another_s_truth_makes_it_wrong() -> None:
    assert marked(answers, "organism:separate", "organism:bleed")["B", ""].wrong


def test_the_ratio_of_the_shifts_is_not_the_share() -> None:
    (answer,) = marked(answers, "organism:bleed?beta=0.25&seed=1").values()
    assert answer.common == pytest.approx(0.25 / 0.75, abs=2e-3)
