"""Gates: a sentence where a number does not stand, nothing where it does."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic

from selfrep.stats import gates
from selfrep.stats.tables import Table

NAMES = synthetic.names((2, 2))


@pytest.mark.parametrize(
    ("effect", "noise", "closed"),
    [(3.0, 1.0, False), (-3.0, 1.0, False), (2.9, 1.0, True), (0.0, 0.0, True), (0.09, 0.0, True), (-0.1, 0.0, False)],
)
def test_an_effect_is_weak_under_three_sds_and_a_tenth_of_a_nat(effect: float, noise: float, closed: bool) -> None:
    assert bool(gates.weak(effect, noise, "the shift")) == closed


def test_reasons_carry_their_numbers() -> None:
    assert gates.weak(-0.07, 0.5, "the shift") == (
        "the shift of −0.07 nats is under three times the paraphrase noise (0.50)"
    )
    assert gates.weak(0.07, 0.01, "the shift") == (
        "the shift of 0.07 nats is under 0.1: it changes the odds by less than a tenth"
    )


def test_answers_need_finite_log_odds_and_probability_in_every_condition() -> None:
    values = np.zeros((4, 2, 2))
    values[0, 0, 1] = np.inf
    you = Table.of(synthetic.behaviour({"you": values}, NAMES, ("a", "b")), "you", ["a", "b"])
    rare = Table.of(synthetic.behaviour({"you": values}, NAMES, ("a", "b"), mass=1e-4), "you", ["a", "b"])
    assert gates.unanswered([0], you=you) == ""
    assert "not finite in the condition 'you'" in gates.unanswered([0, 1], you=you)
    assert "only 0.0001 in the condition 'user'" in gates.unanswered([0], you=you, user=rare)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_an_interval_that_ends_at_0_holds_it_whatever_the_rounding(size: float) -> None:
    for nothing in (0.0, 1e-17 * size, -1e-17 * size):
        for low, high in ((nothing, size), (-size, nothing), (-abs(nothing), abs(nothing))):
            assert not gates.apart_from_0(low, high, size)
    assert gates.apart_from_0(0.1 * size, size, size)
    assert gates.apart_from_0(-size, -0.1 * size, size)
    assert not gates.apart_from_0(-0.1 * size, size, size)
