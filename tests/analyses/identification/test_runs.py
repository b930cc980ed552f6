"""I and the gradient of referents from answers, through a whole run into its report."""

from __future__ import annotations

import pytest
from tests.analyses.planted import SERIES, chapter, with_subscales

from selfrep.errors import SelfrepError
from selfrep.store.run_directory import RunDirectory
from selfrep.study import study


def test_each_subscale_and_each_series_of_referents_is_read(leaky: RunDirectory) -> None:
    scales = leaky.read("identification")
    assert scales.subscale.values.tolist() == ["kind", *(f"series: {name}" for name in SERIES)]
    assert set(scales.kind.values) > {"human"}
    assert leaky.read("referents").series.values.tolist() == ["series"]


def test_it_has_a_chapter_with_its_question_and_its_control(leaky: RunDirectory) -> None:
    chapter(leaky, "identification", "identification")


def test_items_without_a_subscale_are_refused_when_the_study_is_read() -> None:
    with pytest.raises(SelfrepError, match="items with a subscale; not so: what_writes"):
        with_subscales("organism:separate", "identification: {items: [what_writes]}\n")


def test_the_standard_battery_has_no_subscales() -> None:
    with pytest.raises(SelfrepError, match=r"has none that is asked.*builtin: \[battery, identity\]"):
        study.loads("name: x\nidentification: {}\n")
    both = study.loads("name: x\nbattery: {builtin: [battery, identity]}\nidentification: {}\n")
    assert study.loads(both.to_yaml()) == both
