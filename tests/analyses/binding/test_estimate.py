"""R: planted binding comes back, words alone give 0, and small effects give a reason instead of a number."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr

from selfrep.analyses.binding.estimate import BETWEEN, binding
from selfrep.analyses.items.estimate import items
from selfrep.errors import SelfrepError

Array = np.ndarray
FAST: dict[str, Any] = {"n_flips": 500, "n_bootstrap": 300}
NAMES = synthetic.names((6, 6))
AWAY = np.repeat([3.0, -2.0], 6)[:, None, None]  # from a neutral of 1: AI personas +3, human −2
NUMBERS = ("estimate", "ci_low", "ci_high", "p", "null")


def read(bound: float, *, seed: int = 0, noise: float = 0.0, n_items: int = 1, **options: Any) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    own, words = rng.normal(size=(2, 12, 1, n_items)), rng.normal(size=(2, 12, 4, n_items))
    you = 1 + AWAY + noise * own[0] + 0.5 * noise * words[0]
    user = 1 + (1 - bound) * AWAY + noise * own[1] + 0.5 * noise * words[1]
    conditions = {"you": you, "user": user, "neutral": np.ones((1, 3, n_items))}
    asked = tuple(f"q{i}" for i in range(n_items))
    return binding(synthetic.behaviour(conditions, NAMES, asked, mass=options.pop("mass", 0.5)), **FAST | options)


@pytest.mark.parametrize("bound", [0.0, 0.3, 1.0, 1.2])
def test_a_planted_binding_is_recovered_exactly_on_each_side_and_between(bound: float) -> None:
    out = read(bound, n_flips=5000)
    assert out.contrast.values.tolist() == ["ai", "human", BETWEEN]
    for name in ("estimate", "ci_low", "ci_high"):
        np.testing.assert_allclose(out[name], bound, atol=1e-9)
    np.testing.assert_allclose(out.you_shift[0], [3, -2, 5])
    np.testing.assert_allclose(out.user_shift[0], (1 - bound) * np.array([3, -2, 5]), atol=1e-12)
    assert bool(out.identified.all())
    np.testing.assert_allclose(out.p[0], 1 if bound == 0 else out.smallest_p)
    assert out.n_labelings.values.tolist() == [32, 32, 2048]


def test_between_sides_it_is_what_items_do_not_keep() -> None:
    rng = np.random.default_rng(3)
    conditions = {"you": 2 * AWAY + rng.normal(size=(12, 4, 1)), "user": AWAY + rng.normal(size=(12, 4, 1))}
    behaviour = synthetic.behaviour(conditions, NAMES)
    r = binding(behaviour, **FAST).sel(contrast=BETWEEN).isel(item=0)
    kept = items(behaviour, n_permutations=100, n_bootstrap=50).kept.isel(item=0)
    assert float(r.estimate) == pytest.approx(1 - float(kept))


def test_a_lexical_effect_is_rarely_called_bound() -> None:
    p = [read(0.0, seed=s, noise=0.4).p.to_numpy() for s in range(60)]
    assert np.nanmean(np.array(p) <= 0.05) < 0.09
    bound = [read(0.5, seed=s, noise=0.4).p.to_numpy() for s in range(10)]
    assert np.mean(np.array(bound) <= 0.05) > 0.8, "the control: a bound effect is"


def test_intervals_hold_the_truth() -> None:
    held = []
    for seed in range(60):
        out = read(0.4, seed=seed, noise=0.6, n_items=1).isel(item=0)
        held.append(((out.ci_low <= 0.4) & (out.ci_high >= 0.4)).to_numpy()[out.identified.to_numpy()])
    assert np.concatenate(held).mean() > 0.92


def test_bounds_p_and_null_are_those_of_personas_drawn_anew_and_of_their_conditions_exchanged() -> None:
    """12 against 4; only what the 12 keep differs, by whole numbers of nats: an exact bootstrap distribution."""
    values, names = np.arange(12), synthetic.names((12, 4))
    own = np.concatenate([values, np.zeros(4)])[:, None, None] * np.ones((1, 2, 1))
    whole = np.repeat([20.0, -20.0], [12, 4])[:, None, None] * np.ones((1, 2, 1))
    conditions = {"you": whole, "user": own, "neutral": np.zeros((1, 3, 1))}
    out = binding(synthetic.behaviour(conditions, names), n_flips=5000, n_bootstrap=20_000).isel(item=0)
    for contrast, total, n_units, df in (("ai", 20, 12, 11), (BETWEEN, 40, 4, 11)):
        found, (low, high) = out.sel(contrast=contrast), synthetic.bootstrap_bounds(values.tolist(), n_units, df)
        assert float(found.estimate) == pytest.approx(1 - values.mean() / total)
        bounds = [1 - high / total, 1 - low / total]
        np.testing.assert_allclose([found.ci_low, found.ci_high], bounds, atol=1.5 / 12 / total)
    np.testing.assert_allclose(out[["ci_low", "ci_high"]].sel(contrast="human").to_array(), 1)
    few = binding(synthetic.behaviour({"you": 3 * AWAY + stray(1), "user": 2.5 * AWAY + stray(2)}, NAMES), **FAST)
    differ = (3 * AWAY + stray(1) - 2.5 * AWAY - stray(2)).mean(axis=(1, 2))[:6]
    null = np.array([abs(np.dot(differ, (1, *signs))) / 6 for signs in product((1, -1), repeat=5)])
    found = few.isel(item=0).sel(contrast="ai")
    assert float(found.p) == pytest.approx((null >= null[0] - 1e-9).mean())
    assert 1 / 32 < float(found.p) < 1
    assert float(found.null) == pytest.approx(np.quantile(null, 0.95) / float(found.you_shift))


def stray(seed: int) -> Array:
    """Personas that differ by more than their paraphrases do: [persona, paraphrase, item]."""
    rng = np.random.default_rng(seed)
    return 2 * rng.normal(size=(12, 1, 1)) + 0.1 * rng.normal(size=(12, 2, 1))


def test_a_side_that_neutral_already_stands_with_is_not_identified_and_has_no_number() -> None:
    rng = np.random.default_rng(0)
    you = np.repeat([5.0, 0.05], 6)[:, None, None] + 0.3 * rng.normal(size=(12, 4, 1))
    out = binding(synthetic.behaviour({"you": you, "user": you}, NAMES), **FAST).isel(item=0)
    assert out.identified.values.tolist() == [True, False, True]
    assert "three times the paraphrase noise" in str(out.reason.values[1])
    assert np.isnan(out[list(NUMBERS)].isel(contrast=1).to_array()).all()
    assert np.isfinite(out.you_shift.values).all()


def test_items_are_pooled_within_their_framing_and_weigh_by_their_nats() -> None:
    you = np.concatenate([1 * AWAY, 3 * AWAY, 5 * AWAY], axis=2) * np.ones((1, 2, 1))
    user = np.concatenate([1 * AWAY, 0 * AWAY, 5 * AWAY], axis=2) * np.ones((1, 2, 1))
    behaviour = synthetic.behaviour({"you": you, "user": user}, NAMES, ("a", "b", "c"))
    out = binding(behaviour, {"a": "in_character", "b": "in_character", "c": "third_person"}, **FAST)
    assert out.item.values.tolist() == ["a", "b", "c", "all in_character"]
    np.testing.assert_allclose(out.estimate.sel(contrast=BETWEEN), [0, 1, 0, 3 / 4], atol=1e-12)
    pooled = out.sel(item="all in_character", contrast=BETWEEN)
    assert float(pooled.ci_low) < 0 < 1 < float(pooled.ci_high), "two items say little about items"


@pytest.mark.parametrize("mass", [0.0, float("nan")])
def test_answers_without_probability_are_a_reason(mass: float) -> None:
    out = read(0.5, mass=mass)
    assert not out.identified.any()
    assert all("probability" in r for r in out.reason.values.ravel())
    assert np.isnan(out[list(NUMBERS)].to_array()).all()


def test_too_few_families_leave_the_share_without_an_interval_and_say_so() -> None:
    you = np.repeat([3.0, -2.0], 2)[:, None, None] * np.ones((1, 2, 1))
    out = binding(synthetic.behaviour({"you": you, "user": 0.5 * you}, synthetic.names((2, 2))), **FAST).isel(item=0)
    np.testing.assert_allclose(out.estimate, 0.5)
    assert np.isnan(out[["ci_low", "ci_high", "p"]].to_array()).all()
    assert not out.identified.any()
    assert all("at least 4 families" in reason for reason in out.reason.values)


def test_families_exchange_their_conditions_together_and_their_members_count_once() -> None:
    """Three personas a family, all alike: nothing more is known than of one of them."""
    rng = np.random.default_rng(1)
    you, user = (AWAY * x + 0.3 * rng.normal(size=(12, 2, 1)) for x in (1, 0.6))
    alone = binding(synthetic.behaviour({"you": you, "user": user}, NAMES), n_bootstrap=50).isel(item=0)
    thrice = {"you": you.repeat(3, axis=0), "user": user.repeat(3, axis=0)}
    many = synthetic.behaviour(thrice, synthetic.names((18, 18)))
    of = {name: f"family{i // 3}" for i, name in enumerate(synthetic.names((18, 18)))}
    kin = many.assign_coords(family=("prompt", [of.get(str(name), "") for name in many.persona.values]))
    together = binding(kin, n_bootstrap=50).isel(item=0)
    np.testing.assert_allclose(together.estimate, alone.estimate)
    np.testing.assert_allclose(together.p, alone.p)
    apart = binding(many, n_bootstrap=50).isel(item=0)
    assert bool((apart.p < together.p).all()), "the control: as if all were independent"


def test_missing_controls_are_refused() -> None:
    with pytest.raises(SelfrepError, match="'user' is missing"):
        binding(synthetic.behaviour({"you": np.ones((12, 2, 1))}, NAMES), **FAST)
