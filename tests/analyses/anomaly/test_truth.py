"""A is what was planted: the blind notice nothing, and from outside everybody does."""

from __future__ import annotations

from tests.analyses.marking import marked, mistaken, planted

from selfrep.analyses.anomaly.truth import answers


def test_a_is_what_was_planted() -> None:
    planted(answers, "organism:blind?seed=3", {("A", "persona"): 0.0, ("A", "spectator"): 4.0})
    planted(answers, "organism:noticing?seed=1", {("A", "persona"): 4.0})


def test_another_s_truth_makes_it_wrong() -> None:
    found, other = (marked(answers, name) for name in ("organism:noticing?seed=1", "organism:blind?seed=3"))
    assert mistaken(found["A", "persona"], other["A", "persona"].truth)
    assert not mistaken(found["A", "spectator"], other["A", "spectator"].truth), "the control: what both share"
