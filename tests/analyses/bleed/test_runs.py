"""B from answers under a changed truth, through a whole run into its report."""

from __future__ import annotations

import pytest
from tests.analyses.planted import chapter, with_subscales

from selfrep.errors import SelfrepError
from selfrep.store.run_directory import RunDirectory


@pytest.mark.slow
def test_the_planted_bleed_comes_back_and_none_where_none_is_planted(leaky: RunDirectory, apart: RunDirectory) -> None:
    share = leaky.read("bleed").sel(item="all third_person")
    assert float(share.estimate) == pytest.approx(0.4, abs=0.02)
    separate = apart.read("bleed").sel(item="all third_person")
    assert bool(separate.identified)
    assert float(separate.estimate) == pytest.approx(0, abs=0.02)


def test_only_items_whose_truth_can_be_changed_are_asked_again(leaky: RunDirectory) -> None:
    changed = leaky.read("truth")
    assert set(changed.condition.values) == {"truth", "echo"}
    assert set(changed.item.values) == {"what_writes", "what_writes_in_danger"}


def test_it_has_a_chapter_with_its_question_and_its_control(leaky: RunDirectory) -> None:
    chapter(leaky, "bleed", "bleed")


def test_items_whose_truth_cannot_be_changed_are_refused_when_the_study_is_read() -> None:
    with pytest.raises(SelfrepError, match="truth_change; not so: who_are_you"):
        with_subscales("organism:separate", "bleed: {items: [who_are_you]}\n")
