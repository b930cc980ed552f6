"""A subspace is proven where its exchange does what its variable does, and never by chance, rounding or too little."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from selfrep.analyses.mediation.proof import carrying
from selfrep.errors import SelfrepError

LADDER = 0.01 * np.arange(1, 40) * (-1) ** np.arange(39)
"""Of 39 random subspaces: between the 37th and the 38th, at .371, lies the 95th percentile."""


def proofs(
    share: float, *, leak: float = 0.02, total: float = 4.0, n_pairs: int = 4, spread: float = 0.1
) -> xr.Dataset:
    """P moves the answers by this share of what its variable does, random subspaces by about `leak`; S: not asked."""
    rng = np.random.default_rng(0)
    whole = total + spread * rng.normal(size=n_pairs)
    out = np.full((2, 40, n_pairs, 3), np.nan)
    out[0, :, :, 0], out[0, :, :, 1] = 0, whole
    out[0, 0, :, 2], out[0, 1:, :, 2] = share * whole, leak * rng.normal(size=(39, 1)) * whole
    coords = {"mediator": ["P", "S"], "draw": np.arange(-1, 39), "run": ["absent", "present", "exchanged"]}
    return xr.Dataset({"log_odds": (("mediator", "draw", "pair", "run"), out)}, coords=coords)


@pytest.mark.parametrize("errors", [2.9, 3.1])
def test_the_variable_must_move_the_answers_by_three_standard_errors(errors: float) -> None:
    found = proofs(0.9, n_pairs=4)
    spread = np.array([1.0, -1.0, 1.0, -1.0])
    whole = spread + errors * np.sqrt(4 / 3) / np.sqrt(4)  # the SD of ±1 four times is √(4/3)
    found.log_odds[0, :, :, 1] = whole
    found.log_odds[0, 0, :, 2], found.log_odds[0, 1:, :, 2] = 0.9 * whole, 0.0
    assert carrying(found) == (("P",) if errors > 3 else ())


@pytest.mark.parametrize("share", [0.36, 0.38])
def test_the_exchange_must_do_more_than_the_95th_percentile_of_random_ones(share: float) -> None:
    found = proofs(share)
    found.log_odds[0, 1:, :, 2] = LADDER[:, None] * found.log_odds[0, 0, :, 1].to_numpy()
    assert carrying(found) == (("P",) if share > 0.371 else ())


def test_three_tenths_of_the_way_and_nineteen_random_subspaces_are_enough() -> None:
    assert (carrying(proofs(0.29)), carrying(proofs(0.31))) == ((), ("P",))
    assert carrying(proofs(0.9).isel(draw=slice(20))) == ("P",)
    with pytest.raises(SelfrepError, match="at least 19 random ones; got 18"):
        carrying(proofs(0.9).isel(draw=slice(19)))


def test_a_subspace_is_shown_where_its_exchange_moves_what_its_variable_moves() -> None:
    assert carrying(proofs(0.9)) == ("P",)
    assert carrying(proofs(0.9, total=-4.0)) == ("P",)
    assert carrying(proofs(0.2)) == (), "too little of it"
    assert carrying(proofs(-0.9)) == (), "the other way"
    assert carrying(proofs(0.5, leak=2.0)) == (), "no more than random ones"
    assert carrying(proofs(0.9, total=0.05, spread=1.0)) == (), "the variable moves nothing"
    assert carrying(proofs(0.9, n_pairs=1)) == (), "one pair has no spread"
    with pytest.raises(SelfrepError, match="at least 19 random ones; got 9"):
        carrying(proofs(0.9).isel(draw=slice(10)))


def test_a_variable_that_moves_the_answers_by_rounding_is_not_carried() -> None:
    far = proofs(1.0, total=2e-15, spread=0.0, leak=0.0) + 5.0
    assert (far.log_odds.sel(run="present") != far.log_odds.sel(run="absent")).any(), "the control"
    assert carrying(far) == ()
