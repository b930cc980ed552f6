"""A is what was planted: the blind notice nothing, and from outside everybody does."""

from __future__ import annotations

from tests.analyses.marking import marked, planted

from selfrep.analyses.anomaly.truth import answers


def test_a_is_what_was_planted() -> None:
    planted(answers, "organism:blind?seed=3", {("A", "persona"): 0.0, ("A", "spectator"): 4.0})
    planted(answers, "organism:noticing?seed=1", {("A", "persona"): 4.0})


def test_another_s_truth_makes_it_wrong() -> None:
    found = marked(answers, "organism:noticing?seed=1", "organism:blind?seed=3")
    assert found["A", "persona"].wrong
    assert not found["A", "spectator"].wrong, "the control: what both share"
