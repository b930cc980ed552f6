"""Probes: by hand, by chance, and by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from scipy.stats import binom

from selfrep.errors import SelfrepError
from selfrep.stats.probes import direction, probe

Array = np.ndarray
FAST: dict[str, Any] = {"n_permutations": 500, "n_controls": 60}
NAMES = synthetic.names((6, 6))
SIDE = np.repeat([1.0, -1.0], 6)


def draw(
    gap: float, *, seed: int = 0, d: int = 40, persona: float = 1.0, paraphrase: float = 0.3, layers: int = 1
) -> Array:
    """[persona, paraphrase, layer, place, d]: sides `gap` apart along one direction, personas in all."""
    rng = np.random.default_rng(seed)
    own = persona * rng.normal(size=(12, 1, layers, 1, d))
    x = own + paraphrase * rng.normal(size=(12, 3, layers, 1, d))
    x[..., 0] += gap * SIDE[:, None, None, None] / 2
    return x


def read(x: Array, **options: Any) -> xr.Dataset:
    return probe(synthetic.acts({"you": x}, NAMES), **FAST | options)


def by_hand(x: Array) -> float:
    """Leave one persona out, one at a time; rows brought to equal length as `normalised` does."""
    z = x[:, :, 0, 0] / np.sqrt((x[:, :, 0, 0] ** 2).mean(axis=-1, keepdims=True))
    right = []
    for k in range(12):
        others = np.arange(12) != k
        centres = [z[others & (s == SIDE)].mean(axis=(0, 1)) for s in (1, -1)]
        near = [((z[k] - c) ** 2).sum(axis=-1) for c in centres]
        right.append((near[0] < near[1] if SIDE[k] == 1 else near[1] < near[0]).mean())
    return float(np.mean(right))


@pytest.mark.parametrize("gap", [0.0, 2.0, 4.0])
def test_accuracy_is_that_of_leaving_each_persona_out_by_hand(gap: float) -> None:
    for seed in range(5):
        x = draw(gap, seed=seed)
        assert float(read(x).estimate.squeeze()) == pytest.approx(by_hand(x))


def test_a_planted_side_is_read_on_strangers_and_beyond_memory() -> None:
    out = read(draw(8.0, persona=0.5)).squeeze()
    assert float(out.estimate) == float(out.paraphrase) == 1
    assert float(out.p) == out.attrs["smallest_p"] == 1 / 462
    assert float(out.control) < 0.95
    assert float(out.selectivity) == pytest.approx(float(out.paraphrase - out.control))


def test_what_is_learnt_by_heart_reads_new_paraphrases_and_no_strangers() -> None:
    """With nothing but personas, new paraphrases are read perfectly whatever the sides: memory, hence no
    selectivity.
    """
    out = [read(draw(0.0, seed=s, paraphrase=0.05)).squeeze() for s in range(20)]
    assert np.mean([float(r.paraphrase) for r in out]) > 0.95
    assert np.mean([float(r.control) for r in out]) > 0.95
    assert abs(np.mean([float(r.selectivity) for r in out])) < 0.02
    assert np.mean([float(r.estimate) for r in out]) < 0.6


def test_by_chance_p_keeps_its_rate() -> None:
    p = np.array([float(read(draw(0.0, seed=s)).p.squeeze()) for s in range(100)])
    assert (p <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)


def test_the_interval_holds_the_estimate_and_keeps_to_0_and_1() -> None:
    out = read(draw(2.0)).squeeze()
    assert 0 <= float(out.ci_low) <= float(out.estimate) <= float(out.ci_high) <= 1


def test_a_side_that_is_all_right_leaves_room_for_doubt() -> None:
    sure = read(draw(9.0)).squeeze()
    assert float(sure.estimate) == float(sure.ci_high) == 1
    n = len(NAMES) // 2
    rate = (n + 1) / (n + 2)
    expected = rate - 1.959964 * np.sqrt(2 * rate * (1 - rate) / (n + 2)) / 2  # Agresti & Caffo, by hand
    assert float(sure.ci_low) == pytest.approx(expected, abs=1e-6)


def test_a_place_that_some_prompt_lacks_has_a_reason() -> None:
    x = draw(2.0, layers=2)
    x[2, 1, 1] = np.nan
    out = read(x).squeeze()
    assert out.identified.values.tolist() == [True, False]
    assert "no such place" in str(out.reason.values[1])
    assert np.isnan(float(out.estimate[1]))


def test_the_direction_points_from_the_second_side_to_the_first_and_may_be_none() -> None:
    z = draw(50.0, persona=0.1)[:, 0, 0, 0]
    axis = direction(z, SIDE > 0)
    assert axis[0] == pytest.approx(1, abs=1e-3)
    assert np.linalg.norm(axis) == pytest.approx(1)
    assert (direction(np.ones((4, 3)), np.array([True, True, False, False])) == 0).all()


def test_a_family_is_left_out_whole_by_hand_and_counts_once() -> None:
    """Two twins on the first side: a probe that had seen one of them would know the other."""
    x = draw(1.0, seed=3)
    x[1] = x[0] + 0.01 * draw(0.0, seed=4)[1]
    family = np.array(["twins", "twins", *NAMES[2:]])
    acts = synthetic.acts({"you": x}, NAMES)
    of = dict(zip(NAMES, family.tolist(), strict=True))
    out = probe(acts.assign_coords(family=("prompt", [of[name] for name in acts.persona.values.tolist()])), **FAST)
    z = x[:, :, 0, 0] / np.sqrt((x[:, :, 0, 0] ** 2).mean(axis=-1, keepdims=True))
    named = list(dict.fromkeys(family.tolist()))
    means = np.array([z[family == name].mean(axis=(0, 1)) for name in named])
    side = np.array([SIDE[family == name][0] for name in named])
    right = []
    for k, name in enumerate(named):
        others = np.arange(11) != k
        near = [((z[family == name] - means[others & (side == s)].mean(axis=0)) ** 2).sum(axis=-1) for s in (1, -1)]
        right.append(float(((near[0] < near[1]) == (side[k] == 1)).mean()))
    by_hand = np.mean([np.mean(np.array(right)[side == s]) for s in (1, -1)])
    assert float(out.estimate.squeeze()) == pytest.approx(by_hand)
    assert out.attrs["n_families"] == [5, 6]
    assert out.attrs["n_labelings"] == 462  # 11 over 5


def test_too_few_families_give_an_accuracy_without_interval_and_p_and_one_a_side_none() -> None:
    x = draw(6.0)
    few = probe(synthetic.acts({"you": x[[0, 1, 6, 7]]}, ["ai0", "ai1", "human0", "human1"]), **FAST)
    assert np.isfinite(float(few.estimate.squeeze()))
    assert np.isnan([float(few[name].squeeze()) for name in ("ci_low", "ci_high", "p", "null")]).all()
    assert "at least 4 families" in few.attrs["unbounded"]
    assert "needs enough families" in few.attrs["untestable"]
    one = probe(synthetic.acts({"you": x[[0, 6, 7]]}, ["ai0", "human0", "human1"]), **FAST)
    assert "one family" in str(one.reason.squeeze().values)
    assert not bool(one.identified.squeeze())


def test_what_cannot_be_tested_is_refused() -> None:
    x = draw(1.0)
    with pytest.raises(SelfrepError, match="every persona needs two"):
        read(x[:, :1])
    with pytest.raises(SelfrepError, match="got who_are_you of who_are_you"):
        read(x, between="item")


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_sides_that_differ_by_rounding_cannot_be_read(size: float) -> None:
    """Activations are float32: a ten-millionth is kept as a step to the next number, or lost."""
    rng = np.random.default_rng(0)
    x = size * (rng.normal(size=40) + 1e-7 * draw(8.0, persona=0.5))
    out = read(x).squeeze()
    assert synthetic.acts({"you": x}, NAMES).activations.std("prompt").max() > 0, "the control: they are not the same"
    assert float(out.estimate) == float(out.paraphrase) == float(out.control) == 0.5
    assert float(out.p) == 1
    means = x.astype(np.float32).mean(axis=1)[:, 0, 0].astype(float)
    assert (direction(means, SIDE > 0) == 0).all()
    assert float(read(size * draw(8.0, persona=0.5)).estimate.squeeze()) == 1, "the control: what is there is read"
