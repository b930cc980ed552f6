"""Families are what is averaged, drawn and relabelled; what too few of them cannot tell is a reason."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from selfrep.errors import SelfrepError
from selfrep.stats.families import FEWEST, Families

SIDES = ("ai", "human")


def families(sizes: dict[str, tuple[int, ...]], paraphrases: int = 3) -> Families:
    """Families of each side with so many personas, each persona in so many paraphrases."""
    family, side = [], []
    for name, counts in sizes.items():
        for f, members in enumerate(counts):
            family += [f"{name}{f}"] * members
            side += [name] * members
    return Families.of(np.repeat(np.arange(len(family)), paraphrases), family, side, SIDES)


def test_paraphrases_then_personas_then_families_are_averaged() -> None:
    some = families({"ai": (3, 1), "human": (1, 2)})
    rows = np.random.default_rng(0).normal(size=len(some.persona))
    personas = np.array([rows[some.persona == k].mean() for k in range(7)])
    expected = [personas[:3].mean(), personas[3], personas[4], personas[5:].mean()]
    np.testing.assert_allclose(some.pooling() @ rows, expected)
    assert float(some.contrast() @ some.pooling() @ rows) == pytest.approx(
        np.mean(expected[:2]) - np.mean(expected[2:])
    )
    assert some.sizes == {"ai": 2, "human": 2}


def test_draws_keep_the_contrast_and_draw_families() -> None:
    some = families({"ai": (2, 1, 1, 1), "human": (1, 1, 3, 1)})
    draws = some.draws(4000, np.random.default_rng(0))
    first = some.first[some.family][some.persona]
    np.testing.assert_allclose(draws[:, first].sum(axis=1), 1)
    np.testing.assert_allclose(draws[:, ~first].sum(axis=1), -1)
    luck = np.random.default_rng(1).normal(size=len(some.names))
    values = luck[some.family][some.persona]  # what varies is the family alone
    spread = sum(luck[side].var() / side.sum() for side in (some.first, ~some.first))
    assert (draws @ values).var() == pytest.approx(spread, rel=0.1)
    single = families({"ai": (1,) * 5, "human": (1,) * 6})  # the same personas, each a family of its own
    alone = single.draws(4000, np.random.default_rng(0)) @ values
    assert alone.var() < 0.9 * spread, "the control: personas of one family are no units"


def test_labels_of_families_are_permuted_the_data_first() -> None:
    some = families({"ai": (1, 2, 1, 1), "human": (2, 1, 1, 1)})
    weights = some.labelings(10_000, np.random.default_rng(0))
    np.testing.assert_allclose(weights[0], some.contrast())
    assert len(weights) == 35
    assert len(np.unique(np.abs(weights @ np.arange(8.0)).round(9))) > 5


def test_degrees_of_freedom_are_welch_s() -> None:
    rng = np.random.default_rng(2)
    some = families({"ai": (1,) * 4, "human": (1,) * 12})
    values = np.concatenate([3 * rng.normal(size=4), rng.normal(size=12)])
    expected = stats.ttest_ind(values[:4], values[4:], equal_var=False).df
    assert some.degrees(values) == pytest.approx(expected)
    assert some.degrees(np.ones(16)) == 14, "nothing varies but rounding"
    assert 0 < some.tail(values) < 0.025


def test_too_few_families_are_a_reason_and_no_number() -> None:
    few = families({"ai": (4, 4, 4), "human": (1,) * 8})
    assert f"at least {FEWEST} families a side; there are ai: 3, human: 8" in few.unbounded()
    assert np.isnan(few.tail(np.arange(11.0)))
    assert few.untestable() == ""
    three = families({"ai": (1,) * 3, "human": (1,) * 3})
    assert "the smallest here is 0.1" in three.untestable()
    assert families({"ai": (1,) * 4, "human": (1,) * 4}).unbounded() == ""


def test_a_family_on_both_sides_and_a_side_without_anybody_are_refused() -> None:
    with pytest.raises(SelfrepError, match="A family stands on one side only; 'film'"):
        Families.of(np.arange(2), ["film", "film"], ["ai", "human"], SIDES)
    with pytest.raises(SelfrepError, match="none stands on 'human'"):
        Families.of(np.arange(2), ["film", "trade"], ["ai", "ai"], SIDES)
