"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfrep.stats.numbers import counted, number, told, with_unit


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1.0, "1"), (-0.5, "−0.5"), (0.01234, "0.0123"), (999.4, "999"), (999.6, "1,000"),
        (12345.6, "12,346"), (999_999.4, "1 × 10⁶"), (1e6, "1 × 10⁶"), (-2.5e6, "−2.5 × 10⁶"),
        (1.5e-7, "1.5 × 10⁻⁷"), (-1e-12, "−1 × 10⁻¹²"),
        (math.nan, "–"), (math.inf, "–"), (-math.inf, "–"),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_and_a_power_only_where_it_must(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(-1e12, 1e12).filter(lambda x: abs(x) > 1e-12))
def test_what_is_read_is_the_number_but_for_its_fourth_digit(value: float) -> None:
    digits, _, power = number(value).replace("−", "-").replace(",", "").partition(" × 10")
    raised = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or "0"
    assert float(digits) * 10.0 ** int(raised) == pytest.approx(value, rel=0.0051)


def test_a_unit_does_not_leave_its_number() -> None:
    assert with_unit("3", "nats") == "3\N{NO-BREAK SPACE}nats"
    assert with_unit("3", "") == "3"


@given(st.floats(-1e12, 1e12).filter(lambda x: abs(x) > 1e-12))
def test_an_estimate_is_told_with_two_digits(value: float) -> None:
    digits = told(value).partition(" × 10")[0].replace("−", "").replace(",", "").replace(".", "").strip("0")
    assert len(digits) <= 2
    assert told(value) == number(float(f"{value:.2g}"))


@pytest.mark.parametrize(("n", "text"), [(0, "0 items"), (1, "1 item"), (2, "2 items"), (12_000, "12,000 items")])
def test_what_is_counted_is_one_or_several(n: int, text: str) -> None:
    assert counted(n, "item") == text
    assert counted(n, "family", "families").endswith("family" if n == 1 else "families")
