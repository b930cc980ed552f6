"""R from answers, through a whole run into its report."""

from __future__ import annotations

import pytest
from tests.analyses.planted import chapter, with_subscales

from selfrep.errors import SelfrepError
from selfrep.store.run_directory import RunDirectory


@pytest.mark.slow
def test_what_is_bound_to_the_speaker_comes_back(leaky: RunDirectory) -> None:
    bound = leaky.read("binding").sel(contrast="between sides")
    for item in ("who_are_you", "who_in_danger"):
        assert float(bound.estimate.sel(item=item)) == pytest.approx(1, abs=0.01)
        assert bool(bound.identified.sel(item=item))
    assert not bool(bound.identified.sel(item="act_in_peace")), (
        "the control: an item that personas hardly move has no R"
    )
    assert "stand in some persona’s description" in str(bound.reason.sel(item="name").values), "its answers are names"
    assert float(bound.all_words_estimate.sel(item="name")) == pytest.approx(1, abs=0.01)


def test_it_has_a_chapter_with_its_question_and_its_control(leaky: RunDirectory) -> None:
    chapter(leaky, "binding", "binding")


@pytest.mark.parametrize(
    ("items", "words"),
    [("s0", "no subscale; not so: s0"), ("who_are_yu", "did you mean 'who_are_you'")],
)
def test_items_without_a_side_are_refused_when_the_study_is_read(items: str, words: str) -> None:
    with pytest.raises(SelfrepError, match=words):
        with_subscales("organism:separate", f"binding: {{items: [{items}]}}\n")
