"""A: planted surprise comes back, an assistant's own surprise is taken off, blindness is not unawareness."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import synthetic
import xarray as xr
from scipy.stats import binom

from selfrep.analyses.anomaly.estimate import _blind, anomaly
from selfrep.errors import SelfrepError

FAST: dict[str, Any] = {"n_flips": 500, "n_bootstrap": 300}
PERSONAS = [f"p{i}" for i in range(7)]
NUMBERS = ("estimate", "ci_low", "ci_high", "p", "null")


def scenes(
    notices: dict[str, float],
    *,
    assistant: float = 1.0,
    told: float = 4.0,
    noise: float = 0.0,
    seed: int = 0,
    mass: float = 0.5,
) -> xr.Dataset:
    """Personas that notice by so many nats in each form, assistants that find strange what is, and all have levels."""
    rng = np.random.default_rng(seed)
    own = noise * rng.normal(size=(2, 7))
    rows, labels = [], []
    for form, size in notices.items():
        for condition, shift in (("you", size + assistant), ("assistant", assistant), ("told", told)):
            for i, persona in enumerate(PERSONAS):
                for setting in ("strange", "ordinary"):
                    for k in range(3):
                        for item in ("a", "b"):
                            level = {"you": -1.0, "assistant": 2.0, "told": 0.0}[condition]
                            surprise = shift + (own[0, i] if condition == "you" else 0.0)
                            value = level + surprise * (setting == "strange") + 0.3 * noise * rng.normal()
                            rows.append(value)
                            labels.append((form, condition, persona, setting, k, item))
    names = ("form", "condition", "persona", "setting", "paraphrase", "item")
    coords = {name: ("prompt", np.array(column)) for name, column in zip(names, zip(*labels, strict=True), strict=True)}
    full = np.full(len(rows), mass)
    return xr.Dataset({"log_odds": ("prompt", rows), "answer_mass": ("prompt", full)}, coords=coords)


@pytest.mark.parametrize("assistant", [0.0, 1.0, -2.0])
def test_planted_noticing_comes_back_in_either_form_whatever_the_assistant_finds_strange(assistant: float) -> None:
    out = anomaly(scenes({"persona": 3.0, "spectator": 0.5}, assistant=assistant), **FAST)
    assert out.form.values.tolist() == ["persona", "spectator"]
    for name in ("estimate", "ci_low", "ci_high"):
        np.testing.assert_allclose(out[name], [3.0, 0.5], atol=1e-9)
    np.testing.assert_allclose(out.by_persona[0], 3.0)
    np.testing.assert_allclose(out.cells[0], [[2 + assistant, -1], [2 + assistant, 2]])
    np.testing.assert_allclose(out.capability, 4.0)
    np.testing.assert_allclose(out.p, out.attrs["smallest_p"])
    assert out.attrs["n_labelings"] == 64
    assert bool(out.identified.all())


def test_a_persona_that_notices_no_more_than_the_assistant_is_unaware() -> None:
    p = [float(anomaly(scenes({"persona": 0.0}, noise=0.8, seed=s), **FAST).p.squeeze()) for s in range(80)]
    assert (np.array(p) <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)
    aware = [float(anomaly(scenes({"persona": 3.0}, noise=0.8, seed=s), **FAST).p.squeeze()) for s in range(5)]
    assert max(aware) < 0.05, "the control"


def test_intervals_hold_the_truth() -> None:
    runs = [anomaly(scenes({"persona": 1.0}, noise=0.8, seed=s), **FAST).squeeze() for s in range(80)]
    held = [float(r.ci_low) <= 1.0 <= float(r.ci_high) for r in runs]
    assert np.mean(held) > 0.9


def test_intervals_p_and_null_are_those_of_personas_drawn_anew_and_turned_round() -> None:
    """What personas notice are whole numbers: an exact bootstrap distribution; signs are flipped one by one."""
    values = [-1, 0, 1, 2, 2, 3, 7]
    table = scenes({"persona": 0.0})
    notices = np.array([values[PERSONAS.index(name)] for name in table.persona.to_numpy()])
    mine = (table.condition.to_numpy() == "you") & (table.setting.to_numpy() == "strange")
    table.log_odds[:] = table.log_odds + np.where(mine, notices, 0)
    out = anomaly(table, n_flips=500, n_bootstrap=20_000).squeeze()
    bounds = synthetic.bootstrap_bounds(values, 7, 6)
    np.testing.assert_allclose([out.ci_low, out.ci_high], bounds, atol=1.5 / 7)
    np.testing.assert_allclose([out.raw_ci_low, out.raw_ci_high], bounds, atol=1.5 / 7)
    np.testing.assert_allclose([out.capability_ci_low, out.capability_ci_high], 4)
    np.testing.assert_allclose(out.by_persona, values)
    null = np.array([abs(np.dot(values, (1, *signs))) / 7 for signs in product((1, -1), repeat=6)])
    assert float(out.p) == pytest.approx((null >= null[0] - 1e-9).mean())
    assert float(out.null) == pytest.approx(np.quantile(null, 0.95))


@pytest.mark.parametrize("told", [0.0, 0.1, -4.0])
def test_a_model_that_notices_nothing_from_outside_is_at_its_floor(told: float) -> None:
    out = anomaly(scenes({"persona": 2.0}, told=told, noise=0.5), **FAST).squeeze()
    assert not bool(out.identified)
    assert "does not notice" in str(out.reason.values)
    assert np.isnan(out[list(NUMBERS)].to_array()).all()
    assert np.isfinite(float(out.capability))
    assert np.isfinite(out.cells).all()
    rows = scenes({"persona": 2.0}, told=told, noise=0.5)
    means = rows.log_odds.groupby(["condition", "setting"]).mean()
    differ = means.sel(setting="strange") - means.sel(setting="ordinary")
    assert float(out.raw) == pytest.approx(float(differ.sel(condition="you") - differ.sel(condition="assistant")))
    assert float(out.capability) == pytest.approx(float(differ.sel(condition="told")))
    assert float(out.raw_ci_low) <= float(out.raw) <= float(out.raw_ci_high)


def test_what_only_some_are_told_to_be_strange_may_as_well_be_nothing() -> None:
    """The paraphrases agree, so that their noise is small; the personas do not."""
    some = scenes({"persona": 2.0}, told=0.2)
    lift = np.where(some.persona.to_numpy() == PERSONAS[0], 4.0, -0.4)
    told = (some.condition.to_numpy() == "told") & (some.setting.to_numpy() == "strange")
    some.log_odds[:] = some.log_odds + np.where(told, lift, 0.0)
    out = anomaly(some, **FAST).squeeze()
    assert float(out.capability) > 3 * float(out.paraphrase_sd)
    assert not bool(out.identified)
    assert "may as well be 0" in str(out.reason.values)


def test_answers_without_probability_are_a_reason() -> None:
    out = anomaly(scenes({"persona": 2.0}, mass=1e-4), **FAST).squeeze()
    assert "probability" in str(out.reason.values)
    broken = scenes({"persona": 2.0})
    broken.log_odds[5] = np.inf
    assert "not finite" in str(anomaly(broken, **FAST).squeeze().reason.values)


def test_missing_controls_and_too_few_personas_are_refused() -> None:
    whole = scenes({"persona": 2.0})
    with pytest.raises(SelfrepError, match="missing: told"):
        anomaly(whole.isel(prompt=whole.condition.to_numpy() != "told"), **FAST)
    with pytest.raises(SelfrepError, match="missing: ordinary"):
        anomaly(whole.isel(prompt=whole.setting.to_numpy() == "strange"), **FAST)
    with pytest.raises(SelfrepError, match=r"got 5. The smallest p these could give is 0\.0625"):
        anomaly(whole.isel(prompt=np.isin(whole.persona.to_numpy(), PERSONAS[:5])), **FAST)
    with pytest.raises(SelfrepError, match="two paraphrases"):
        anomaly(whole.isel(prompt=whole.paraphrase.to_numpy() == 0), **FAST)
    with pytest.raises(SelfrepError, match="are missing: form"):
        anomaly(whole.drop_vars("form"), **FAST)


@pytest.mark.parametrize("low", [0.0, 1e-17, -1e-17])
def test_an_interval_that_ends_at_0_does_not_open_the_gate_whatever_the_rounding(low: float) -> None:
    assert "may as well be 0" in _blind(4.0, low, 0.1)
    assert _blind(4.0, 0.5, 0.1) == "", "the control"


def test_personas_of_a_family_count_once() -> None:
    """Two personas of one family notice 7 nats each, and five others notice nothing."""
    table = scenes({"persona": 0.0})
    kin = np.isin(table.persona.to_numpy(), PERSONAS[:2])
    strange = (table.condition.to_numpy() == "you") & (table.setting.to_numpy() == "strange")
    table.log_odds[:] = table.log_odds + np.where(kin & strange, 7.0, 0.0)
    family = np.where(kin, "kin", "")
    out = anomaly(table.assign_coords(family=("prompt", family)), **FAST).squeeze()
    assert out.attrs["n_families"] == 6
    assert float(out.estimate) == pytest.approx(7 / 6)
    assert float(out.cells[0, 0] - out.cells[0, 1] - out.cells[1, 0] + out.cells[1, 1]) == pytest.approx(7 / 6)
    assert float(out.p) == 1.0, "no sign but one family's matters"
    alone = anomaly(table, **FAST).squeeze()
    assert float(alone.estimate) == pytest.approx(2), "the control: as if they were strangers"
    with pytest.raises(SelfrepError, match="at least six families are flipped"):
        anomaly(table.assign_coords(family=("prompt", np.where(kin, "kin", "others"))), **FAST)
