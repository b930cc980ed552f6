"""Δ is above 0 where an organism has read its persona, and nowhere that does not hold it."""

from __future__ import annotations

from tests.analyses.marking import marked

from selfrep.analyses.divergence.truth import answers


def test_cells_that_have_read_the_persona_are_apart_and_no_others() -> None:
    found = marked(answers, "organism:separate")
    present, absent = found["Δ", "present"], found["Δ", "absent"]
    assert (present.truth, present.estimate) == (1.0, 1.0)
    assert (absent.truth, absent.estimate) == (0.0, 0.0)
    assert not present.wrong
    assert absent.common > 0.5, "the control: the distance of means is above 0 by luck"


def test_a_cell_called_apart_that_holds_nothing_is_a_wrong_answer() -> None:
    """The answers about an organism with decoys everywhere, marked by the sheet of one without."""
    assert marked(answers, "organism:decoys", truth_of="organism:separate")["Δ", "absent"].wrong
