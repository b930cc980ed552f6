"""The difference of two runs' shifts is that of pairs: what both have in common, such as families, cancels."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.analyses.items.difference import shift_difference
from selfrep.analyses.items.estimate import items

SIDES = ("ai", "human")


def scores(shift: float, families: np.ndarray, noise: float = 0.05, seed: int = 0, name: str = "p") -> xr.Dataset:
    """Sixteen personas, each its own family, in two paraphrases, in all conditions; the first eight on the first side.

    Args:
        shift: what the first side's answers are above the second's; families: [persona] what a family adds.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for condition in ("you", "user", "neutral"):
        for persona in range(16 if condition != "neutral" else 1):
            for paraphrase in range(2):
                value = shift * (persona < 8) + families[persona] + noise * rng.normal()
                side = "ai" if persona < 8 else "human"
                known = ("", "", "") if condition == "neutral" else (f"{name}{persona:02d}", side, f"f{persona:02d}")
                rows.append((*known, condition, paraphrase, value if condition == "you" else 0.0))
    persona, side, family, condition, paraphrase, values = zip(*rows, strict=True)
    labels = {"persona": persona, "side": side, "family": family, "condition": condition, "paraphrase": paraphrase}
    return xr.Dataset(
        {"log_odds": ("prompt", list(values)), "answer_mass": ("prompt", [0.5] * len(rows))},
        coords={key: ("prompt", list(column)) for key, column in labels.items()}
        | {"item": ("prompt", ["who"] * len(rows))},
    )


FAMILIES = np.random.default_rng(7).normal(0, 2.0, 16)


def test_it_is_the_difference_of_the_two_shifts() -> None:
    one, other = scores(3.0, FAMILIES), scores(1.0, FAMILIES, seed=1)
    shifts = [float(items(s, n_bootstrap=20, n_permutations=20).sel(item="who")["shift"]) for s in (one, other)]
    found = shift_difference(one, other, ["who"], SIDES, n_bootstrap=200)
    assert found is not None
    assert found[0] == pytest.approx(shifts[0] - shifts[1])


def test_what_families_add_to_both_cancels() -> None:
    """Each shift by itself is unsure by what families differ, whose intervals overlap; the difference is not."""
    one, other = scores(1.0, FAMILIES), scores(0.6, FAMILIES, seed=1)
    each = [items(s, n_bootstrap=500, n_permutations=20).sel(item="who") for s in (one, other)]
    assert float(each[0].ci_low) < float(each[1].ci_high), "they overlap"
    found = shift_difference(one, other, ["who"], SIDES, n_bootstrap=500)
    assert found is not None
    _, low, high, p = found
    assert 0 < low < 0.4 < high < 0.6
    assert p < 0.01


def test_where_nothing_differs_the_interval_holds_0() -> None:
    """The control: the same shift, other noise."""
    found = shift_difference(scores(1.0, FAMILIES), scores(1.0, FAMILIES, seed=1), ["who"], SIDES, n_bootstrap=500)
    assert found is not None
    assert found[1] < 0 < found[2]
    assert found[3] > 0.05


def test_runs_of_other_personas_and_answers_without_odds_have_none() -> None:
    one = scores(1.0, FAMILIES)
    assert shift_difference(one, scores(1.0, FAMILIES, name="q"), ["who"], SIDES) is None
    broken = one.assign(log_odds=one.log_odds.where(one.paraphrase > 0))
    assert shift_difference(one, broken, ["who"], SIDES) is None
