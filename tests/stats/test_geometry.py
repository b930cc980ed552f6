"""Activations made comparable, and personas in a plane."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic
from sklearn.covariance import LedoitWolf

from selfrep.errors import SelfrepError
from selfrep.stats.geometry import noise_normalised, normalised, persona_map, standardised


def test_the_length_of_a_row_says_nothing() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 16))
    z, massive = normalised(x)
    scaled, _ = normalised(x * rng.uniform(0.01, 100, size=(20, 1)))
    np.testing.assert_allclose(z, scaled)
    np.testing.assert_allclose((z**2).mean(axis=1), 1)
    assert not massive.any()


def test_massive_dimensions_get_an_ordinary_spread() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 64))
    x[:, 3] = 60 + 20 * rng.normal(size=50)
    z, massive = normalised(x)
    assert np.flatnonzero(massive).tolist() == [3]
    assert z[:, 3].std() == pytest.approx(np.median(z[:, ~massive].std(axis=0)))
    assert z[:, 3].mean() == pytest.approx(0)


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-2])
def test_a_massive_dimension_that_hardly_varies_is_not_blown_up(noise: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 64))
    x[:, 0] = 60.0 + noise * rng.normal(size=32)
    z, massive = normalised(x)
    assert np.flatnonzero(massive).tolist() == [0]
    assert z[:, 0].std() <= 2 * noise * np.median(z[:, 1:].std(axis=0))
    assert abs(z[:, 0].mean()) < 1e-9


def test_a_few_dimensions_are_outliers_and_many_are_the_representation() -> None:
    rng = np.random.default_rng(0)
    for several in (4, 5):  # of 96, one in 20 is 4
        x = 1e-4 * rng.normal(size=(32, 96))
        x[:, :several] += 1 + rng.normal(size=(32, several))
        z, massive = normalised(x)
        assert massive.sum() == (4 if several == 4 else 0)
    np.testing.assert_allclose((z**2).mean(axis=1), 1)
    assert (z[:, :5] ** 2).sum() / (z**2).sum() > 0.999  # the five keep what they hold


def test_a_constant_massive_dimension_vanishes_and_sparse_or_empty_rows_stay_finite() -> None:
    x = np.random.default_rng(0).normal(size=(10, 8)) * 0.01
    x[:, 0] = 50.0
    assert (normalised(x)[0][:, 0] == 0).all()
    sparse = np.zeros((6, 10))
    sparse[:, :2] = np.random.default_rng(1).normal(size=(6, 2))
    z, massive = normalised(sparse)
    assert not massive.any()
    assert (z[:, :2] != 0).all()
    assert (normalised(np.zeros((3, 4)))[0] == 0).all()


def test_each_cell_is_put_on_one_scale_over_the_prompts_that_have_it_once() -> None:
    rng = np.random.default_rng(0)
    x = 7 * rng.normal(size=(12, 2, 2, 2, 30))
    x[..., 4] += 500.0
    x[0, 1, :, 0] = np.nan  # one paraphrase of one persona has no such place
    acts = synthetic.acts({"you": x}, synthetic.names((6, 6)))
    scaled = standardised(acts)
    raw, z = (one.activations.to_numpy()[:, 0] for one in (acts, scaled))
    assert np.isnan(z[:, :, 0]).any(axis=-1).sum() == 2, "that prompt, at both layers"
    for layer, place in np.ndindex(2, 2):
        there = np.isfinite(raw[:, layer, place]).all(axis=1)
        expected, massive = normalised(raw[there, layer, place])
        np.testing.assert_allclose(z[there, layer, place], expected, rtol=1e-6, atol=1e-6)
        assert np.flatnonzero(massive).tolist() == scaled.attrs["massive_dimensions"] == [4]
    np.testing.assert_allclose(scaled.rms[:, 0], np.sqrt((raw.astype(float) ** 2).mean(-1)), rtol=1e-6)
    assert standardised(scaled) is scaled
    assert acts.activations.equals(synthetic.acts({"you": x}, synthetic.names((6, 6))).activations), "not in place"


def planted(spread: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Personas [persona, paraphrase, layer, place, d] in a plane, 2:1 wide, at right angles to a long common vector."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(40, 3)))[0].T
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    plane = np.stack([2 * np.cos(angle), np.sin(angle)], axis=1)
    x = 100 * basis[0] + plane @ basis[1:]
    return x[:, None] + spread * rng.normal(size=(8, 2, 40)), plane


def _loud(rng: np.random.Generator, units: int, *, d: int = 20, loud: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """Units of two rows around 0, whose noise is loud along the first dimension; their numbers."""
    noise = rng.normal(size=(2 * units, d))
    noise[:, 0] *= loud
    return noise, np.repeat(np.arange(units), 2)


def test_distances_in_the_metric_of_noise_are_mahalanobis_distances() -> None:
    rng = np.random.default_rng(0)
    x, unit = _loud(rng, 40)
    x += rng.normal(size=(40, 20))[unit]
    contrasts = (x[::2] - x[1::2]) / np.sqrt(2)  # of two rows, what is left without their mean
    precision = np.linalg.inv(LedoitWolf(assume_centered=True).fit(contrasts).covariance_)
    z = noise_normalised(x, unit)
    np.testing.assert_allclose(z @ z.T, x @ precision @ x.T, rtol=1e-8, atol=1e-8)
    assert not np.allclose(z @ z.T, x @ x.T, rtol=0.5), "the control: plain inner products"


def test_where_noise_is_loud_a_distance_counts_for_less() -> None:
    x, unit = _loud(np.random.default_rng(1), 200)
    along = np.zeros((2, 20))
    along[0, 0] = along[1, 1] = 1.0  # as far apart, but one along the loud dimension
    z = noise_normalised(np.concatenate([along, x]), np.concatenate([[-1, -2], unit]), of=range(200))
    loud, quiet = (z[:2] ** 2).sum(axis=1)
    assert quiet / loud == pytest.approx(100, rel=0.3)


def test_the_noise_of_other_units_has_no_say_in_the_metric() -> None:
    x, unit = _loud(np.random.default_rng(2), 30)
    z = noise_normalised(x, unit, of=range(20))
    x[40:] *= 7.0
    again = noise_normalised(x, unit, of=range(20))
    np.testing.assert_allclose(again[:40] @ again[:40].T, z[:40] @ z[:40].T, rtol=1e-8)
    all_of_them = noise_normalised(x, unit)
    assert not np.allclose(all_of_them[:40] @ all_of_them[:40].T, z[:40] @ z[:40].T, rtol=0.1)


@pytest.mark.parametrize("noise", [0.0, 1e-33, 1e-20])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_without_noise_distances_stay(noise: float, size: float) -> None:
    """A variance that is 0 on paper is 0 on one processor and 1e-33 on another: both are none, at any size of data."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 9)).repeat(2, axis=0)
    rows = size * (x + np.sqrt(noise) * rng.normal(size=x.shape))
    for unit in (np.repeat(np.arange(6), 2), np.arange(12)):  # rows that do not differ, and none to compare
        z = noise_normalised(rows, unit) / size
        np.testing.assert_allclose(z @ z.T, x @ x.T, atol=1e-8)
    loud = noise_normalised(rows + 1e-3 * size * rng.normal(size=x.shape), np.repeat(np.arange(6), 2)) / size
    assert not np.allclose(loud @ loud.T, x @ x.T, rtol=0.5), "the control: noise that is there sets the metric"


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_in_the_metric_of_noise_the_size_of_data_says_nothing(size: float) -> None:
    x, unit = _loud(np.random.default_rng(4), 30)
    z, scaled = noise_normalised(x, unit), noise_normalised(size * x, unit)
    np.testing.assert_allclose(scaled @ scaled.T, z @ z.T, rtol=1e-6, atol=1e-6)


def test_dimensions_and_rows_that_hold_rounding_hold_nothing() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((12, 60))
    x[:11, :3] = rng.normal(size=(11, 3))
    rounded = x + 1e-17 * rng.normal(size=x.shape)
    (z, massive), (again, still) = normalised(x), normalised(rounded)
    assert not massive.any()
    assert not still.any(), "three of three dimensions are ordinary, whatever the others hold"
    np.testing.assert_allclose(again, z, atol=1e-9)


def test_a_massive_dimension_that_varies_by_rounding_vanishes() -> None:
    rng = np.random.default_rng(0)
    x = np.full((12, 9), 0.01)
    x[:, 1:4] *= rng.normal(size=(12, 3))  # most ordinary dimensions are constant, but for the length of their row
    x[:, 0] = 50.0 * (1 + 2e-16 * rng.integers(0, 3, 12))
    assert x[:, 0].std() > 0
    z, massive = normalised(x)
    assert np.flatnonzero(massive).tolist() == [0]
    np.testing.assert_allclose(z[:, 0], 0, atol=1e-9)


def test_the_planted_plane_is_recovered() -> None:
    x, plane = planted()
    acts = synthetic.acts({"you": x[:, :, None, None], "user": x[:, :, None, None]}, synthetic.names((4, 4)))
    points = persona_map(acts, site="resid_post", layer=0, where=-1)
    assert float(points.explained.sum()) == pytest.approx(1, abs=1e-3)
    own = points.coordinates.to_numpy()[::2][:8]
    for component in (0, 1):  # up to a sign, and to the unit of length
        assert abs(np.corrcoef(own[:, component], plane[:, component])[0, 1]) > 0.999
    assert points.sizes["point"] == 32
    np.testing.assert_allclose(
        points.coordinates[:16], points.coordinates[16:], atol=1e-6
    )  # both conditions say the same


def test_a_rotation_does_not_turn_the_map() -> None:
    x, _ = planted(0.1)
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(40, 40)))[0]
    names = synthetic.names((4, 4))
    one, two = (synthetic.acts({"you": rows[:, :, None, None]}, names) for rows in (x, x @ turn))
    maps = [persona_map(acts, site="resid_post", layer=0, where=-1).coordinates for acts in (one, two)]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


def test_the_plane_is_fitted_in_one_condition_only() -> None:
    x, _ = planted()
    away = x + 30 * np.random.default_rng(3).normal(size=40) * np.arange(8)[:, None, None]
    first = synthetic.acts({"you": x[:, :, None, None], "user": x[:, :, None, None]}, synthetic.names((4, 4)))
    other = synthetic.acts({"you": x[:, :, None, None], "user": away[:, :, None, None]}, synthetic.names((4, 4)))
    maps = [persona_map(a, site="resid_post", layer=0, where=-1) for a in (first, other)]
    np.testing.assert_allclose(maps[0].explained, maps[1].explained, rtol=1e-3)


def test_a_map_that_cannot_be_drawn_is_refused() -> None:
    names = synthetic.names((4, 4))
    x = np.ones((8, 2, 1, 1, 6))
    with pytest.raises(SelfrepError, match="personas that differ"):
        persona_map(synthetic.acts({"you": x}, names), site="resid_post", layer=0, where=-1)
    base = np.random.default_rng(0).normal(size=6)
    x = base + 1e-7 * np.random.default_rng(1).normal(size=x.shape)  # float32 rounds it to the next number, or the same
    with pytest.raises(SelfrepError, match="personas that differ"):
        persona_map(synthetic.acts({"you": x}, names), site="resid_post", layer=0, where=-1)
    with pytest.raises(SelfrepError, match="at least three personas"):
        persona_map(synthetic.acts({"you": x[:2]}, names), site="resid_post", layer=0, where=-1)
    x = x.copy()
    x[0, 0] = np.nan
    with pytest.raises(SelfrepError, match="every prompt has"):
        persona_map(synthetic.acts({"you": x}, names), site="resid_post", layer=0, where=-1)
