"""What is written, as plain arithmetic on arrays; the runs themselves are tested in test_fast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from selfrep.engine.interventions import Ablate, Cap, InSubspace, Intervention, Replace, Steer
from selfrep.errors import SelfrepError

SOURCE, TARGET = torch.randn(2, 2, 3, 8, generator=torch.Generator().manual_seed(0))


@given(seed=st.integers(0, 10**6), rank=st.integers(1, 8))
def test_a_subspace_and_its_complement_share_out_the_source(seed: int, rank: int) -> None:
    basis = torch.linalg.qr(torch.randn(8, rank, generator=torch.Generator().manual_seed(seed))).Q
    inside = InSubspace(basis).values(SOURCE, TARGET, 0)
    outside = InSubspace(basis, complement=True).values(SOURCE, TARGET, 0)
    torch.testing.assert_close(inside + outside, SOURCE + TARGET, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(inside @ basis, SOURCE @ basis, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outside @ basis, TARGET @ basis, rtol=1e-4, atol=1e-4)
    again = InSubspace(basis).values(SOURCE, inside, 0)
    torch.testing.assert_close(again, inside, rtol=1e-4, atol=1e-4)  # a projection: twice is once


def test_the_whole_space_is_the_source_and_its_complement_the_target() -> None:
    whole = torch.linalg.qr(torch.randn(8, 8)).Q
    torch.testing.assert_close(InSubspace(whole).values(SOURCE, TARGET, 0), SOURCE, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(InSubspace(whole, True).values(SOURCE, TARGET, 0), TARGET, rtol=1e-4, atol=1e-4)
    assert torch.equal(Replace().values(SOURCE, TARGET, 0), SOURCE)


def test_a_direction_may_have_any_length_and_sign() -> None:
    direction = torch.randn(8)
    one = InSubspace(direction).values(SOURCE, TARGET, 0)
    torch.testing.assert_close(InSubspace(-7 * direction).values(SOURCE, TARGET, 0), one, rtol=1e-4, atol=1e-5)
    unit = direction / direction.norm()
    torch.testing.assert_close(one - TARGET, ((SOURCE - TARGET) @ unit)[..., None] * unit, rtol=1e-4, atol=1e-5)


def test_each_layer_may_have_values_of_its_own() -> None:
    vectors = {layer: np.full(8, layer, dtype=np.float32) for layer in (1, 4)}
    assert float(Steer(vectors, 2.0).values(SOURCE, TARGET, 4)[0, 0, 0] - TARGET[0, 0, 0]) == pytest.approx(8)
    by_layer = xr.DataArray(np.stack(list(vectors.values())), dims=("layer", "d_model"), coords={"layer": [1, 4]})
    assert torch.equal(Ablate(by_layer).values(SOURCE, TARGET, 1), torch.ones(2, 3, 8))
    with pytest.raises(SelfrepError, match=r"layers \[1, 4\]; the plan asks for layer 2"):
        Ablate(by_layer).values(SOURCE, TARGET, 2)


def test_ablation_takes_the_target_away() -> None:
    assert not Ablate("zero").values(SOURCE, TARGET, 0).any()
    mean = torch.arange(8.0)
    assert torch.equal(Ablate(mean).values(SOURCE, TARGET, 0)[1, 2], mean)
    heads = torch.randn(4, 8)
    assert torch.equal(Ablate(heads).values(SOURCE[:, :, None], torch.zeros(2, 3, 4, 8), 0)[0, 0], heads)


def test_a_cap_moves_what_is_beyond_it_along_its_direction_alone() -> None:
    direction = torch.randn(8)
    unit = direction / direction.norm()
    before = TARGET @ unit
    for low, high in ((None, 0.2), (-0.1, None), (-0.1, 0.2)):
        after = Cap(3 * direction, low, high).values(SOURCE, TARGET, 0)
        torch.testing.assert_close(after @ unit, before.clamp(low, high), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            after - (after @ unit)[..., None] * unit, TARGET - before[..., None] * unit, atol=1e-5, rtol=0
        )
    assert not torch.equal(before, before.clamp(-0.1, 0.2)), "the control"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InSubspace(torch.ones(8, 2)), r"orthonormal columns; got \[8, 2\].*torch.linalg.qr"),
        (lambda: InSubspace(torch.zeros(8)), "has a length"),
        (lambda: InSubspace(torch.ones(2, 8, 1)), "orthonormal"),
        (lambda: Ablate("noise"), "'zero', to 'resample', or to a mean"),
        (lambda: Ablate(np.array([1.0, np.nan])), "finite"),
        (lambda: Steer([]), "finite"),
        (lambda: Steer(torch.ones(5)).values(SOURCE, TARGET, 0), "has 5 features; what passes at this site has 8"),
        (lambda: InSubspace(torch.eye(5)).values(SOURCE, TARGET, 0), "has 5 features"),
        (lambda: Cap(torch.ones(8)), "low=None and high=None"),
        (lambda: Cap(torch.ones(8), low=1.0, high=0.5), "between low and high"),
        (lambda: Cap(torch.ones(8), high=float("nan")), "between low and high"),
        (lambda: Cap(torch.zeros(8), high=1.0), "has a length"),
    ],
)
def test_what_cannot_be_written_is_refused(make: Any, message: str) -> None:
    with pytest.raises(SelfrepError, match=message):
        make()


@pytest.mark.parametrize(
    "value",
    [
        Replace(),
        InSubspace(torch.ones(3)),
        Ablate(),
        Ablate("resample"),
        Steer(torch.ones(3), 2.0),
        Cap(torch.ones(3), high=1.0),
    ],
)
def test_interventions_have_names_of_their_own(value: Any) -> None:
    assert isinstance(value, Intervention)
    assert value.name in {"replace", "subspace", "ablate to zero", "ablate to resample", "steer × 2", "cap to −∞ … 1"}


def test_an_intervention_shows_itself_in_a_line() -> None:
    assert repr(Steer(torch.ones(2000), 2.0)) == "Steer(vector=[2000], coefficient=2.0)"
    assert repr(InSubspace(torch.eye(300)[:, :2])) == "InSubspace(basis=[300, 2], complement=False)"
    by_layer = {layer: torch.ones(8) for layer in range(40)}
    assert len(repr(Steer(by_layer))) < 120
