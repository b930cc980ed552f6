"""A coin makes no difference: tests that count families say so, and those that count personas or prompts do not."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.models.loading import load_model
from selfrep.validation.nulls import _dealt, deals


@pytest.mark.slow
def test_counting_prompts_or_personas_raises_false_alarms_and_counting_families_does_not() -> None:
    found = list(deals(load_model("organism:families?noise=0.2"), 60, seed=1))
    assert len(found) == 60
    maps, alone, bleeds = (
        np.mean([getattr(deal, name) for deal in found]) for name in ("anywhere", "persona_anywhere", "bleeds")
    )
    assert max(maps, bleeds) <= 0.12
    assert alone > 2 * maps, "as if members of a family were strangers"
    assert np.mean([deal.prompt_bleeds for deal in found]) > 0.3
    assert np.mean([deal.cells for deal in found]) < np.mean([deal.prompt_cells for deal in found])


def test_families_are_dealt_whole_and_the_self_stays_out() -> None:
    prompts = {"persona": ["a", "b", "c", "self"], "family": ["x", "x", "y", "self"], "side": ["ai", "ai", "human", ""]}
    data = xr.Dataset(coords={name: ("prompt", values) for name, values in prompts.items()})
    assert _dealt(data, {"x"}).side.to_numpy().tolist() == ["heads", "heads", "tails", ""]
    assert _dealt(data, {"y"}).side.to_numpy().tolist() == ["tails", "tails", "heads", ""]


@pytest.mark.slow
def test_deals_can_be_had_again() -> None:
    lm = load_model("organism:families?noise=0.2")
    first = list(deals(lm, 1, seed=5))
    assert first == list(deals(lm, 1, seed=5))
    assert first != list(deals(lm, 1, seed=6))
