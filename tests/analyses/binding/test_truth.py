"""R is the planted share that is bound to the speaker."""

from __future__ import annotations

from tests.analyses.marking import marked, mistaken, planted

from selfrep.analyses.binding.truth import answers


def test_r_is_the_planted_share() -> None:
    planted(answers, "organism:bleed?beta=0.25&seed=1", {("R", ""): 1.0})
    planted(answers, "organism:lexical?binding=0.4&seed=2", {("R", ""): 0.4})


def test_another_s_truth_makes_it_wrong() -> None:
    found = marked(answers, "organism:lexical?binding=0.4&seed=2")["R", ""]
    assert mistaken(found, 1.0), "that of the other"
    assert not mistaken(found, 0.4), "the control: its own"
