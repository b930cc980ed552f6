"""The slope of I over referents: planted slopes come back, levels by chance do not, and by hand it is the same."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest
import xarray as xr
from scipy.stats import binom, t, ttest_1samp
from tests.analyses.identification.test_estimate import drawn

from selfrep.analyses.identification.estimate import identification
from selfrep.analyses.identification.referents import referent_gradient
from selfrep.errors import SelfrepError


def referents(slope: float, noise: float, seed: int = 0) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    names = ["this chat", "another chat", "earlier version", "other vendor", "the user"]
    values = slope * np.arange(5)[:, None] + noise * rng.normal(size=(5, 1)) + 0.1 * noise * rng.normal(size=(5, 8))
    return xr.Dataset(
        {
            "estimate": (("subscale", "persona"), values),
            "identified": ("subscale", np.full(5, True)),
            "shared_se": ("subscale", np.zeros(5)),
        },
        coords={"subscale": names, "persona": [f"p{i}" for i in range(8)]},
    )


def test_a_planted_gradient_comes_back_and_levels_by_chance_do_not() -> None:
    found = referents(-1.5, 0.0)
    out = referent_gradient(found, found.subscale.values.tolist())
    np.testing.assert_allclose(out.estimate, -1.5)
    assert float(out["mean"]) == pytest.approx(-1.5)
    assert float(out.p) == 2 / factorial(5)  # falling and rising
    p = []
    for seed in range(80):
        chance = referents(0.0, 1.0, seed)
        p.append(float(referent_gradient(chance, chance.subscale.values.tolist()).p))
    assert (np.array(p) <= 0.05).sum() <= binom.ppf(0.999, len(p), 0.05)


def test_the_gradient_by_hand() -> None:
    """Slopes are least squares; the interval is Student's over personas, and what they share is added to its error."""
    found = referents(-0.3, 1.0, 5)
    found.estimate[:] = found.estimate + np.random.default_rng(6).normal(size=(5, 8))
    names, values = found.subscale.values.tolist(), found.estimate.to_numpy()
    out = referent_gradient(found, names)
    slopes = np.array([np.polyfit(range(5), column, 1)[0] for column in values.T])
    np.testing.assert_allclose(out.estimate, slopes)
    student = ttest_1samp(slopes, 0).confidence_interval()
    np.testing.assert_allclose([out.ci_low, out.ci_high], student)
    null = [abs(np.polyfit(range(5), order, 1)[0]) for order in permutations(values.mean(axis=1))]
    assert float(out.p) == pytest.approx(np.mean([v >= null[0] - 1e-9 for v in null]))
    assert 1 / factorial(5) < float(out.p) < 1
    assert float(out.null) == pytest.approx(np.quantile(null, 0.95))
    shared = np.array([3.0, 0.5, 0.2, 0.1, 1.0])
    wide = referent_gradient(found.assign(shared_se=("subscale", shared)), names)
    error = np.hypot(slopes.std(ddof=1) / np.sqrt(8), np.sqrt(((np.arange(5) - 2) ** 2 * shared**2).sum()) / 10)
    half = t.isf(0.025, 7) * error
    np.testing.assert_allclose([wide.ci_low, wide.ci_high], [slopes.mean() - half, slopes.mean() + half])
    turned = referent_gradient(found, names[::-1])
    np.testing.assert_allclose(turned.estimate, -slopes)


@pytest.mark.slow  # by hand, above: that what all share widens the interval
def test_gradients_count_what_all_personas_share() -> None:
    scales = {f"q{i}": [f"q{i}"] for i in range(5)}
    held, alone = [], []
    for seed in range(60):
        found = identification(drawn(seed, 0.0, 5), scales, n_permutations=9, n_bootstrap=300)
        for counted, runs in ((found, held), (found.assign(shared_se=0 * found.shared_se), alone)):
            out = referent_gradient(counted, list(scales))
            runs.append(float(out.ci_low) <= 0 <= float(out.ci_high))
    assert sum(held) >= binom.ppf(0.001, len(held), 0.95)
    assert sum(alone) < binom.ppf(0.05, len(alone), 0.95), "the control: as if neutral were known"


def test_a_gradient_over_what_is_not_identified_has_a_reason() -> None:
    found = referents(-1.5, 0.0)
    found["identified"] = ("subscale", np.array([True, False, True, True, True]))
    out = referent_gradient(found, found.subscale.values.tolist())
    assert not bool(out.identified)
    assert "another chat" in str(out.reason.values)
    assert np.isnan([float(out["mean"]), float(out.p)]).all()


def test_what_has_no_slope_is_refused() -> None:
    found = referents(1.0, 0.0)
    names = found.subscale.values.tolist()
    with pytest.raises(SelfrepError, match=r"smallest p is 0\.167"):
        referent_gradient(found, names[:3])
    with pytest.raises(SelfrepError, match=r"must be different and at least four"):
        referent_gradient(found, [*names[:3], names[0]])
    with pytest.raises(SelfrepError, match=r"unknown: \['nobody'\]"):
        referent_gradient(found, [*names, "nobody"])


def test_of_one_persona_the_slope_stands_without_an_interval() -> None:
    found = referents(-1.0, 0.0)
    out = referent_gradient(found.isel(persona=[0]), found.subscale.values.tolist())
    assert float(out["mean"]) == pytest.approx(-1)
    assert np.isnan([float(out.ci_low), float(out.ci_high)]).all()
    assert "at least 4 families of personas; there are 1" in str(out.reason.values)


def test_personas_of_a_family_count_once() -> None:
    """Four families of two, whose members agree: the interval is Student's over four."""
    found = referents(-0.3, 1.0, 5)
    found.estimate[:] = found.estimate + np.random.default_rng(6).normal(size=(5, 4)).repeat(2, axis=1)
    names = found.subscale.values.tolist()
    kin = found.assign_coords(family=("persona", np.repeat(list("abcd"), 2)))
    out, alone = referent_gradient(kin, names), referent_gradient(found, names)
    slopes = out.estimate.to_numpy().reshape(4, 2).mean(axis=1)
    np.testing.assert_allclose([out.ci_low, out.ci_high], ttest_1samp(slopes, 0).confidence_interval())
    assert float(alone.ci_high - alone.ci_low) < 0.75 * float(out.ci_high - out.ci_low), "the control: as if strangers"
    few = referent_gradient(kin.isel(persona=slice(0, 6)), names)
    assert not bool(few.identified)
    assert "at least 4 families" in str(few.reason.values)
    assert np.isnan(few.ci_low)
