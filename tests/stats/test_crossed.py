"""Crossed distances: right on average where plain ones are too large, and by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from selfrep.stats.crossed import Draws, family_distances, side_contrast
from selfrep.stats.families import Families

Array = np.ndarray

FAMILY = ["a", "a", "b", "c", "d", "d", "e"]
SIDE = ["one", "one", "one", "one", "two", "two", "two"]
PERSONA = np.repeat(np.arange(7), [3, 3, 2, 3, 3, 3, 3])
FRAME = np.concatenate([np.arange(n) for n in (3, 3, 2, 3, 3, 3, 3)]) % 2
FAMILIES = Families.of(PERSONA, FAMILY, SIDE, ("one", "two"))


def rows(seed: int, d: int = 5) -> Array:
    return np.random.default_rng(seed).normal(size=(len(PERSONA), d))


def test_the_contrast_of_sides_multiplies_no_family_with_itself_by_hand() -> None:
    at = np.random.default_rng(0).normal(size=(5, 4))
    gram = at @ at.T
    first, second = [0, 1, 2], [3, 4]
    within = [np.mean([gram[i, j] for i, j in product(g, g) if i != j]) for g in (first, second)]
    expected = sum(within) - 2 * np.mean([gram[i, j] for i, j in product(first, second)])
    assert side_contrast(np.array([[True] * 3 + [False] * 2]))[0] @ gram.ravel() == pytest.approx(expected)


def test_draws_are_of_families_then_personas_then_paraphrases_by_hand() -> None:
    """Each draw again, from its own weights, with loops."""
    x, y = rows(1), rows(2)
    draws = Draws.of(FAMILIES, 20, np.random.default_rng(0))
    found = draws.side_distances(x @ y.T)
    family = np.array([FAMILIES.names.index(FAMILY[k]) for k in PERSONA])
    for one, counts, within in zip(found, draws.counts, draws.within, strict=True):
        means = [np.array([within[family == f] @ z[family == f] for f in range(5)]) for z in (x, y)]
        parts = []
        for side in (FAMILIES.first, ~FAMILIES.first):
            pairs = [(f, g) for f, g in product(np.flatnonzero(side), repeat=2) if f != g]
            weight = [counts[f] * counts[g] for f, g in pairs]
            parts.append(np.average([means[0][f] @ means[1][g] for f, g in pairs], weights=weight))
        ends = [[(counts * side / side.sum()) @ m for side in (FAMILIES.first, ~FAMILIES.first)] for m in means]
        across = ends[0][0] @ ends[1][1] + ends[0][1] @ ends[1][0]
        assert one == pytest.approx(sum(parts) - across)
    for side in (FAMILIES.first, ~FAMILIES.first):
        assert (draws.counts[:, side].sum(axis=1) == side.sum()).all()
        assert ((draws.counts[:, side] > 0).sum(axis=1) >= 2).all()
    for f in range(5):
        np.testing.assert_allclose(draws.within[:, family == f].sum(axis=1), 1)
    assert np.ptp(draws.within[:, family == 0][:, :3].sum(axis=1)) > 0, "personas of a family are drawn as well"


def test_distances_of_personas_by_hand() -> None:
    x = rows(3)
    found = family_distances(x @ x.T, FAMILIES, FRAME)

    def mean(i: int, j: int) -> float:
        pairs = product(np.flatnonzero(i == PERSONA), np.flatnonzero(j == PERSONA))
        return float(np.mean([x[r] @ x[s] for r, s in pairs if FRAME[r] != FRAME[s]]))

    def distance(i: int, j: int) -> float:
        return mean(i, i) + mean(j, j) - 2 * mean(i, j)

    assert found[0, 1] == pytest.approx(np.mean([distance(0, 2), distance(1, 2)]))
    assert found[0, 3] == pytest.approx(np.mean([distance(i, j) for i in (0, 1) for j in (4, 5)]))
    np.testing.assert_allclose(found, found.T)
    draws = Draws.of(FAMILIES, 5, np.random.default_rng(0))
    weights = draws.counts[0][:, None] * draws.counts[0] * ~np.eye(5, dtype=bool)
    assert draws.mean_distances(found)[0] == pytest.approx((weights * found).sum() / weights.sum())


def test_personas_that_do_not_differ_lie_at_0_on_average_whatever_their_frames_do() -> None:
    crossed, plain = [], []
    apart = ~np.eye(5, dtype=bool)
    for seed in range(200):
        x = rows(seed) + 5 * np.random.default_rng(1000 + seed).normal(size=(2, 5))[FRAME]
        crossed.append(family_distances(x @ x.T, FAMILIES, FRAME)[apart].mean())
        means = np.array([x[k == PERSONA].mean(axis=0) for k in range(7)])
        plain.append(((means[0] - means[3]) ** 2).sum())
    assert abs(np.mean(crossed)) < 3 * np.std(crossed) / np.sqrt(200)
    assert np.mean(plain) > 1, "the control: plain squared distances of means"
