"""A finding says the numbers of its cell, and none where they are not identified."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.analyses.sentences import (
    all_words,
    finding,
    how_tested,
    if_identified,
    n_families,
    pooled_rows,
    with_interval,
)

ROW = xr.Dataset(
    {"estimate": 0.5, "ci_low": 0.1, "ci_high": 0.9, "share": 0.25, "share_ci_low": 0.2, "share_ci_high": 0.3}
    | {"identified": True, "reason": ""}
)
SHUT = ROW.assign(identified=False, reason="the model is deaf")


@pytest.mark.parametrize(("value", "numbers"), [("estimate", (0.5, (0.1, 0.9))), ("share", (0.25, (0.2, 0.3)))])
def test_a_value_has_bounds_of_its_own(value: str, numbers: tuple[float, tuple[float, float]]) -> None:
    made = finding(
        ROW, "A title", value=value, unit="nats", about="binding", p=0.02, n=16, control="0", how_sure="p = 0.01"
    )
    assert (made.value, made.interval) == numbers
    assert (made.unit, made.about, made.control, made.how_sure) == ("nats", "binding", "0", "p = 0.01")
    assert (made.p, made.n, made.name) == (0.02, 16, "A title")


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
        ("who", "the item “who”"), ("all third_person", "the item “all third person”"),
    ]  # fmt: skip


def test_families_are_counted_side_by_side() -> None:
    assert n_families(ROW.assign_attrs(n_families=[8, 7])) == "8 and 7 families of personas"
    assert n_families(ROW) == "the personas"


def test_what_is_missing_leaves_no_dash_and_no_nan() -> None:
    bare = ROW.assign(ci_low=np.nan, ci_high=np.nan, p=np.nan)
    assert with_interval(bare) == "0.5"
    assert finding(bare, "A title").interval is None
    few = {"untestable": "a test needs more", "permuted": "sides", "n_labelings": 3}
    assert how_tested(bare, few) == "no p: a test needs more"
    assert all_words(bare, "estimate") == "", "nothing was read by all words"
