"""A finding says the numbers of its cell, and none where they are not identified."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.analyses.sentences import finding, if_identified, n_personas, pooled_rows, with_interval

ROW = xr.Dataset(
    {"estimate": 0.5, "ci_low": 0.1, "ci_high": 0.9, "share": 0.25, "share_ci_low": 0.2, "share_ci_high": 0.3}
    | {"identified": True, "reason": ""}
)
SHUT = ROW.assign(identified=False, reason="the model is deaf")


@pytest.mark.parametrize(("value", "numbers"), [("estimate", (0.5, (0.1, 0.9))), ("share", (0.25, (0.2, 0.3)))])
def test_a_value_has_bounds_of_its_own(value: str, numbers: tuple[float, tuple[float, float]]) -> None:
    made = finding(ROW, "A title", value=value, unit="nats", about="binding", control="0", how_sure="p = 0.01")
    assert (made.value, made.interval) == numbers
    assert (made.unit, made.about, made.control, made.how_sure) == ("nats", "binding", "0", "p = 0.01")


def test_a_value_without_bounds_of_its_own_has_those_of_the_row() -> None:
    made = finding(ROW.rename(estimate="shift"), "A title", value="shift")
    assert (made.value, made.interval) == (0.5, (0.1, 0.9))


def test_a_row_that_is_not_identified_is_its_reason_unless_another_is_given() -> None:
    made = finding(SHUT, "A title")
    assert (made.identified, made.value, made.reason) == (False, None, "the model is deaf")
    assert finding(ROW, "A title", reason="too few").reason == "too few"
    assert not finding(ROW, "A title", reason="too few").identified
    assert finding(SHUT, "A title", reason="").identified


def test_words_about_numbers() -> None:
    assert with_interval(ROW, "share") == "0.25 (95 % interval 0.2 to 0.3)"
    assert (if_identified(ROW, "so much"), if_identified(SHUT, "so much")) == ("so much", "")


def test_pools_are_told_where_there_are_some_and_single_items_otherwise() -> None:
    names = xr.Dataset(coords={"item": ["who", "all third_person"]})
    assert pooled_rows(names, ("third_person", "first_person")) == [("all third_person", "questions from outside")]
    assert pooled_rows(names, ("first_person",)) == [
        ("who", "the item “who”"), ("all third_person", "the item “all third_person”"),
    ]  # fmt: skip


def test_personas_are_counted_side_by_side() -> None:
    assert n_personas(ROW.assign_attrs(n_personas=[8, 7])) == "8 and 7"
    assert n_personas(ROW.assign_attrs(n_personas=np.int64(12))) == "12"
    assert n_personas(ROW) == "the"
