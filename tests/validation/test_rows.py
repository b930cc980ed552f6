"""Rows are judged by the worst organism, rates by their intervals; and the control has to fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.validation.cards import examination

from selfrep.analyses.answers import Answer
from selfrep.analyses.bleed.truth import B
from selfrep.validation.card import Row
from selfrep.validation.claims import Abstention
from selfrep.validation.maps import Mark
from selfrep.validation.rows import _rate, rows


def named(what: str, *organisms: object, own: tuple[str, ...] = ()) -> list[Row]:
    return [row for row in rows(list(organisms), own) if row.what.startswith(what)]  # type: ignore[arg-type]


def test_one_bad_organism_fails_a_row_and_the_median_is_shown() -> None:
    good, bad = (examination(t=1.0), examination(t=1.0), examination(t=1.0)), examination(t=0.985)
    (row,) = named("AUROC of |T|", *good, bad)
    assert (row.score, row.low, row.high, row.n) == (1.0, 0.985, 1.0, 4)
    assert row.passed is False
    assert row.requirement == "≥ 0.99"
    assert "attribution alone 0.80" in row.common
    assert named("AUROC of |T|", *good)[0].passed is True
    assert named("AUROC of |T|", examination("hydra", t=0.96))[0].passed is True, "a hard one may be lower"
    assert named("AUROC of |T|", examination("hydra", t=0.94))[0].passed is False


def test_the_control_has_to_fail() -> None:
    assert named("AUROC of |T|", examination("trained_control", t=0.6))[0].passed is True
    assert named("AUROC of |T|", examination("trained_control", t=0.97))[0].passed is False


def test_an_error_is_the_worst_one_and_what_is_not_identified_is_counted() -> None:
    (row,) = named("β, bleed", examination(b=0.41), examination(b=0.36))
    assert row.what == "β, bleed: worst error 0.040"
    assert row.passed is False
    assert named("β, bleed", examination(b=0.41))[0].passed is True
    shut = Answer(B, "", 0.4, np.nan, np.nan, np.nan, reason="insensitive")
    (row,) = named("β, bleed", replace(examination(), answers=(shut,)))
    assert row.passed is False
    assert "(1 not identified)" in row.model


def test_wrong_answers_are_counted_and_named() -> None:
    (row,) = named("wrong answers", examination(), examination())
    assert (row.score, row.n, row.passed) == (0, 8, True)
    off, claimed = examination(b=0.5), replace(examination(), abstentions=(Abstention("what_writes", True, 0.4),))
    (row,) = named("wrong answers", off, claimed)
    assert (row.score, row.passed) == (2, False)
    assert row.model == "all; in B 1, T 1"


def test_intervals_without_noise_are_no_part_of_coverage() -> None:
    (row,) = named("95 % intervals of B", examination(noise=0.0), examination(b=0.41), examination(b=0.45))
    assert (row.score, row.n) == (0.5, 2)


def test_a_rate_passes_when_what_is_wanted_lies_in_its_interval() -> None:
    few, many = (_rate("", "", "", [True, *[False] * 9] * n, "", "at most", 0.05) for n in (2, 20))
    assert few.passed is True
    assert many.passed is False
    # Clopper and Pearson, 20 of 200: from the tables.
    assert (many.low, many.high) == pytest.approx((0.0622, 0.1502), abs=2e-4)
    most = [True] * 17 + [False] * 3
    assert _rate("", "", "", most, "", "at least", 0.95).passed is True
    assert _rate("", "", "", most * 10, "", "at least", 0.95).passed is False


def test_a_user_s_estimator_stands_beside_ours() -> None:
    one = examination()
    mine = replace(one, marks=(*one.marks, Mark("mine", "causal", 0.77, 0.5)))
    (row,) = named("AUROC of mine", mine, own=("mine",))
    assert (row.part, row.score, row.passed) == ("Yours", 0.77, None)
    assert row.common == "T 1.00, worst 1.00"


def test_maps_of_the_self_have_rows_of_their_own() -> None:
    marked = (
        Mark("T", "causal", 0.99, 0.9, variable="self"),
        Mark("raw distance", "causal", 0.7, 0.5, variable="self"),
    )
    one = replace(examination(), marks=(*examination().marks, *marked))
    (persona,), (self,) = named("AUROC of |T|", examination()), named("AUROC of |T|, of the self", one)
    assert (self.score, self.passed, self.common) == (0.99, True, "raw distance 0.70, worst 0.70")
    assert named("AUROC of |T|", one)[0] == persona, "the persona's stays as it was"
    low = replace(one, marks=(replace(marked[0], auroc=0.94),))
    assert named("AUROC of |T|, of the self", low)[0].passed is False


def test_what_is_not_defined_should_be_withheld() -> None:
    told = Answer(B, "", None, -0.6, -0.7, -0.5)
    kept = replace(told, estimate=np.nan, reason="opposition")
    (row,) = named("B where it is not defined", replace(examination(), answers=(told, kept)))
    assert (row.score, row.n) == (0.5, 2)
    assert named("wrong answers", replace(examination(), answers=(told, kept)))[0].score == 1


def test_sides_with_one_mean_are_judged_by_their_personas() -> None:
    blind, seeing = (replace(examination("xor"), hidden=(-0.01, people)) for people in (0.0, 0.3))
    assert [named("identity separation of such cells", one)[0].passed for one in (blind, seeing)] == [False, True]
    fooled = replace(examination("xor"), hidden=(0.3, 0.3))
    assert named("largest S of a cell that holds", fooled)[0].passed is False
