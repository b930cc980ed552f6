"""Distances from products alone, against loops over pairs of rows and against the activations themselves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag, helmert
from sklearn.covariance import ledoit_wolf_shrinkage

from selfrep.stats.distances import crossed_distances, noise_factor, shrinkage
from selfrep.stats.geometry import noise_normalised

Array = np.ndarray


def by_hand(x: Array, a: list[int], b: list[int], frame: Array) -> float:
    """The mean product over all pairs of rows in different frames, for each of a·a, b·b and a·b."""

    def mean(first: list[int], second: list[int]) -> float:
        return float(np.mean([x[i] @ x[j] for i in first for j in second if frame[i] != frame[j]]))

    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


def test_every_pair_of_groups_as_loops_over_their_rows_have_it() -> None:
    rng = np.random.default_rng(0)
    x, frame = rng.normal(size=(9, 5)), np.array([0, 1, 2, 0, 1, 2, 0, 0, 1])
    groups = [[0, 1, 2], [3, 4, 5, 6], [7, 8], [0, 1, 7]]
    weights = np.array([np.isin(np.arange(9), group) for group in groups], dtype=float)
    found = crossed_distances(x @ x.T, weights, frame[:, None] != frame)
    for i, a in enumerate(groups):
        for j, b in enumerate(groups):
            assert found[i, j] == pytest.approx(by_hand(x, a, b, frame) if i != j else 0.0)


def test_noise_adds_nothing_on_average_and_neither_do_shared_frames() -> None:
    crossed, plain = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        frame = np.tile(np.arange(4), 3)  # a persona in four frames, and eight neutral texts
        x = rng.normal(size=(12, 20)) + 2 * rng.normal(size=(4, 20))[frame]
        groups = np.array([np.arange(12) < 4, np.arange(12) >= 4], dtype=float)
        crossed.append(crossed_distances(x @ x.T, groups, frame[:, None] != frame)[0, 1])
        plain.append(((x[:4].mean(0) - x[4:].mean(0)) ** 2).sum())
    assert abs(np.mean(crossed)) < 4 * np.std(crossed) / np.sqrt(300)
    assert np.mean(plain) == pytest.approx(20 * (1 / 4 + 1 / 8), rel=0.1), "the control: the luck of single rows"


def test_a_group_in_one_frame_has_no_distance() -> None:
    groups = np.eye(3)[[0, 1]]
    found = crossed_distances(np.eye(3), groups, ~np.eye(3, dtype=bool))
    assert np.isnan(found).all()


@pytest.mark.parametrize(("units", "d"), [(6, 64), (20, 10), (20, 300)])
def test_the_metric_of_noise_is_that_of_the_activations(units: int, d: int) -> None:
    rng = np.random.default_rng(d)
    x, unit = rng.normal(size=(units * 4, d)) * np.exp(rng.normal(size=d)), np.repeat(np.arange(units), 4)
    noise = block_diag(*[helmert(4)] * units)[6:] @ x  # the first two units bring none
    factor, size = noise_factor(noise @ x.T, noise @ noise.T, d, float((x**2).sum(axis=1).mean()))
    z = noise_normalised(x, unit, of=range(2, units))
    np.testing.assert_allclose((x @ x.T - factor.T @ factor) / size, z @ z.T, atol=1e-8 * np.abs(z @ z.T).max())
    everyone = noise_normalised(x, unit)
    assert not np.allclose(everyone @ everyone.T, z @ z.T, rtol=1e-3), "the control: with the noise of all units"


def test_shrinkage_is_ledoit_and_wolfs() -> None:
    noise = np.random.default_rng(1).normal(size=(30, 12)) * np.arange(1, 13)
    own = shrinkage(noise @ noise.T, 12)
    assert own == pytest.approx(ledoit_wolf_shrinkage(noise, assume_centered=True))


@pytest.mark.parametrize("size", [0.0, 1e-9])
def test_without_noise_products_stay(size: float) -> None:
    rng = np.random.default_rng(2)
    x, noise = rng.normal(size=(5, 8)), size * rng.normal(size=(3, 8))
    factor, scale = noise_factor(noise @ x.T, noise @ noise.T, 8, 8.0)
    assert scale == 1.0
    assert not factor.any()
