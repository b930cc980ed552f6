"""A finding is whole or it is not printed; numbers read back as what they were."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfrep.errors import SelfrepError
from selfrep.store.findings import Finding, number, with_unit

WHOLE: dict[str, Any] = {
    "title": "The sides differ by",
    "value": 5.83,
    "interval": (4.9, 6.8),
    "control": "“the user is X” keeps 68 %",
    "how_sure": "Bootstrap over 8 and 8 personas",
    "unit": "nats",
}


def test_a_finding_reads_as_value_interval_and_unit() -> None:
    finding = Finding(**WHOLE)
    assert finding.value_text == "5.83\N{NO-BREAK SPACE}nats"
    assert finding.interval_text.replace("\N{NO-BREAK SPACE}", " ") == "95 % interval 4.9 to 6.8 nats"
    assert Finding(**WHOLE | {"value": "layer 22", "interval": None, "unit": ""}).value_text == "layer 22"
    assert Finding(**WHOLE | {"interval": None}).interval_text == ""


@pytest.mark.parametrize(
    "broken",
    [
        {"value": math.nan},
        {"value": math.inf},
        {"value": None},
        {"interval": (math.nan, 1.0)},
        {"interval": (0.0, math.inf)},
    ],
)
def test_a_number_that_is_missing_or_not_finite_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(SelfrepError, match="identified=False"):
        Finding(**WHOLE | broken)


def test_what_is_not_identified_keeps_its_reason_and_loses_its_number() -> None:
    finding = Finding(**WHOLE | {"identified": False, "reason": "the total effect is too small"})
    assert (finding.value, finding.interval, finding.value_text) == (None, None, "not identified")
    assert "5.83" not in str(finding.record())
    with pytest.raises(SelfrepError, match="no reason"):
        Finding(**WHOLE | {"identified": False})


@pytest.mark.parametrize(
    "change", [{}, {"interval": None}, {"value": "layer 22"}, {"identified": False, "reason": "weak"}]
)
def test_a_finding_comes_back_from_its_record(change: dict[str, Any]) -> None:
    finding = Finding(**WHOLE | change)
    assert Finding.from_record(finding.record()) == finding


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.012, "−0.012"),
        (5.8349, "5.83"),
        (999.6, "1,000"),
        (12870.0, "12,870"),
        (2.4e-5, "2.4 × 10⁻⁵"),
        (-1e-12, "−1 × 10⁻¹²"),
        (4.2e9, "4.2 × 10⁹"),
        (math.nan, "–"),
    ],
)
def test_numbers_are_written_as_people_write_them(value: float, text: str) -> None:
    assert number(value) == text


@given(st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-12))
def test_a_written_number_is_within_half_a_percent_of_the_number(value: float) -> None:
    plain = number(value).replace("−", "-").replace(",", "").replace(" × 10", "e")
    assert float(plain.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))) == pytest.approx(value, rel=0.0051)


def test_a_unit_is_held_to_its_number() -> None:
    assert with_unit("3", "nats") == "3\N{NO-BREAK SPACE}nats"
    assert with_unit("3", "") == "3"
