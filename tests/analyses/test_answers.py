"""When an answer is wrong, and how a cell of results becomes one."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.analyses.answers import Answer, Estimand, answer

B = Estimand("B", "B, bleed", 0.03)


@pytest.mark.parametrize(
    ("estimate", "ci_low", "ci_high", "truth", "wrong"),
    [
        (0.45, 0.44, 0.46, 0.40, True),
        (0.45, 0.35, 0.55, 0.40, False),  # unsure
        (0.42, 0.415, 0.425, 0.40, False),  # near enough
        (0.45, 0.44, 0.46, None, True),  # nothing is true
    ],
)
def test_wrong_with_confidence(
    estimate: float, ci_low: float, ci_high: float, truth: float | None, wrong: bool
) -> None:
    assert Answer(B, "", truth, estimate, ci_low, ci_high).wrong == wrong
    assert not Answer(B, "", truth, estimate, ci_low, ci_high, reason="too small").wrong


def cell(reason: str = "") -> xr.Dataset:
    names = ("estimate", "ci_low", "ci_high", "bound", "bound_ci_low", "bound_ci_high")
    return xr.Dataset(dict(zip(names, map(float, range(1, 7)), strict=True)) | {
        "identified": not reason, "reason": reason,
    })  # fmt: skip


def test_a_cell_is_answered_in_the_unit_of_the_truth() -> None:
    one = answer(B, 9.0, cell(), "maker", names=("bound", "bound_ci_low", "bound_ci_high"), unit=2.0, common=7.0)
    assert (one.estimate, one.ci_low, one.ci_high, one.error) == (8.0, 10.0, 12.0, -1.0)
    assert (one.of, one.common, one.identified) == ("maker", 7.0, True)
    assert (answer(B, 9.0, cell()).estimate, answer(B, 9.0, cell()).ci_high) == (1.0, 3.0)


def test_what_is_not_identified_says_why_and_has_no_error() -> None:
    shut = answer(B, 9.0, cell("too small"))
    assert (shut.identified, shut.reason) == (False, "too small")
    assert np.isnan(shut.error)
    assert np.isnan(answer(B, None, cell()).error)
