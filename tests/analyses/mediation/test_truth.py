"""M is the planted share, in either order."""

from __future__ import annotations

from tests.analyses.marking import marked, mistaken, planted

from selfrep.analyses.mediation.truth import answers


def test_m_is_the_planted_share_in_either_order() -> None:
    planted(answers, "organism:mimicry?w=0.7&seed=4", {("M", "P first"): 0.7, ("M", "S first"): 0.7}, off=0.1)


def test_another_s_truth_makes_it_wrong() -> None:
    found = marked(answers, "organism:mimicry?w=0.7&seed=4")["M", "P first"]
    assert mistaken(found, 0.0), "that of one that acts for its own goals"
    assert not mistaken(found, 0.7), "the control: its own"
