"""Directions that are off by a block are noticed; those that are none are told from chance."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from tests.tiny import tiny_hf

from selfrep.engine.capture import capture
from selfrep.engine.interventions import Ablate, Cap, InSubspace, Steer
from selfrep.errors import SelfrepError
from selfrep.interop.directions.check import check_directions, compare_directions
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.prompts.prompt import Prompt

TAILS = ("today", "at sea", "of old", "by night", "in town", "here")
SIDES = tuple(
    [
        Prompt(f"{word} {tail}", ("Who are you?",))
        for tail in ("today", "at sea", "of old", "by night", "in town", "here")
    ]
    for word in ("You are a robot", "You are a nurse")
)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return load_model("organism:separate?noise=0.3")


def differences(lm: LanguageModel, rows: slice = slice(None)) -> xr.DataArray:
    """[layer, d_model]: how the last token of the two sides differs."""
    both = [prompt for side in SIDES for prompt in side[rows]]
    acts = capture(lm, both, tokens="position", positions=-1).activations.isel(site=0, position=0)
    half = len(both) // 2
    return (acts[:half].mean("prompt") - acts[half:].mean("prompt")).reset_coords(drop=True)


@pytest.mark.parametrize("off", [-2, -1, 0, 1, 2])
def test_an_offset_is_noticed(lm: LanguageModel, off: int) -> None:
    """Directions of other prompts of the same two kinds, whose file counts its blocks otherwise."""
    sound = differences(lm, slice(3))
    said = sound.assign_coords(layer=sound.layer - off).sel(layer=slice(0, lm.n_layers - 1))
    checked = check_directions(lm, said, *(side[3:] for side in SIDES))
    assert checked.best == off
    assert float(checked.cosine.sel(offset=off)) > float(checked.floor)
    assert ("where they say" in checked.sentence) == (off == 0)


def test_the_cosine_is_that_of_the_difference_of_means(lm: LanguageModel) -> None:
    drawn = np.random.default_rng(1).standard_normal((2, lm.d_model))
    said = xr.DataArray(drawn, {"layer": [1, 3]}, ["layer", "d_model"])
    checked = check_directions(lm, said, *SIDES, offsets=(-1, 2))
    apart = differences(lm).to_numpy()
    for offset, blocks in ((-1, {0: 0, 1: 2}), (2, {0: 3, 1: 5})):
        by_hand = [drawn[i] @ apart[k] / np.linalg.norm(drawn[i]) / np.linalg.norm(apart[k]) for i, k in blocks.items()]
        np.testing.assert_allclose(float(checked.cosine.sel(offset=offset)), np.mean(by_hand), rtol=1e-5)


def test_random_directions_are_told_as_such(lm: LanguageModel) -> None:
    bests = []
    for seed in range(20):
        drawn = np.random.default_rng(seed).standard_normal((lm.n_layers, lm.d_model))
        said = xr.DataArray(drawn, {"layer": range(lm.n_layers)}, ["layer", "d_model"])
        checked = check_directions(lm, said, *SIDES, seed=seed + 100)
        bests.append(checked.best)
        assert (checked.best is None) == checked.sentence.startswith("At no offset")
    assert sum(best is not None for best in bests) <= 4, "5 % of them, and by chance four of twenty at most"


def test_what_cannot_be_checked_is_refused(lm: LanguageModel) -> None:
    sound = differences(lm)
    with pytest.raises(SelfrepError, match=r"as wide as the model.*; these have 3"):
        check_directions(lm, sound[:, :3], *SIDES)
    with pytest.raises(SelfrepError, match="Two prompts of each kind"):
        check_directions(lm, sound, SIDES[0][:1], SIDES[1])
    with pytest.raises(SelfrepError, match=r"blocks 0 to 5; these directions are of \[40"):
        check_directions(lm, sound.assign_coords(layer=sound.layer + 40), *SIDES)
    with pytest.raises(SelfrepError, match="the dimensions layer, d_model"):
        check_directions(lm, sound.expand_dims("component"), *SIDES)


def test_sets_are_compared_where_both_have_a_layer() -> None:
    rng = np.random.default_rng(0)
    one = xr.DataArray(rng.standard_normal((3, 50)), {"layer": [0, 1, 2]}, ["layer", "d_model"])
    other = one.assign_coords(layer=[1, 2, 3])
    compared = compare_directions(one, other)
    assert compared.layer.values.tolist() == [1, 2]
    by_hand = [np.corrcoef(np.r_[a, -a], np.r_[b, -b])[0, 1] for a, b in ((one[1], one[0]), (one[2], one[1]))]
    np.testing.assert_allclose(compared.cosine, by_hand)
    drawn = rng.standard_normal((4000, 2, 50))
    cosines = np.abs((drawn[:, 0] * drawn[:, 1]).sum(1)) / np.linalg.norm(drawn, axis=2).prod(1)
    assert np.mean(cosines < float(compared.floor)) == pytest.approx(0.95, abs=0.02)
    for bad in (one.assign_coords(layer=[7, 8, 9]), one[:, :4], one.assign_attrs(site="mlp_out")):
        with pytest.raises(SelfrepError, match=r"no layer in common|one site and width"):
            compare_directions(one, bad)


def test_interventions_take_directions_as_they_are() -> None:
    lm = load_model(tiny_hf())
    values = np.random.default_rng(0).standard_normal((2, lm.d_model)).astype(np.float32)
    directions = xr.DataArray(values, {"layer": [0, 2]}, ["layer", "d_model"])
    for made in (Steer(directions), InSubspace(directions), Ablate(directions), Cap(directions, high=0.0)):
        held = next(value for value in vars(made).values() if isinstance(value, dict))
        assert sorted(held) == [0, 2]
    np.testing.assert_allclose(Steer(directions).vector[2], values[1])
