"""Where variables are used and where they are merely there, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.models.organisms.planted import brute, contrast, grown, log_odds, run, stream
from tests.models.organisms.planted import truth as planted_in

from selfrep.models.organisms.lexicon import QUESTIONS
from selfrep.models.organisms.places import VARIABLES

EXACT = [  # the rest, slow, are planted in ways of which test_circuit and test_measures know more, or ends of these
    "organism:hydra?beta=0.4&seed=3",
    "organism:reasoner?jump=0.3&w=0.2&notice=0.5&impostor=1&seed=7",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "organism:bleed",
            "organism:xor?beta=0.3&seed=8",
            "organism:reread?beta=0.4&binding=0.3&seed=9",
            "organism:dormant?decoys=1&seed=4",
            "organism:lexical?binding=0.3&default=0.5&seed=6",
            "organism:separate?w=1&seed=1",
            "organism:bleed?beta=1&w=0&seed=2",
            "organism:lexical?seed=5",
            "organism:negation?seed=1",
            "organism:families?seed=2",
            "organism:echo?seed=3",
            "organism:mute?seed=4",
            "organism:deaf?xor=1&reread=1",
            "organism:reasoner?notice=0&repair=1&beta=0.3",
        )
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_patching_moves_the_answer_at_the_planted_cells_and_nowhere_else(name: str) -> None:
    hf, truth = grown(name), planted_in(name)
    used = 0
    for variable in VARIABLES:
        for question in QUESTIONS:
            both = contrast(variable, question)
            planted = truth.transfer_map(both[0], variable, question)
            told = ~np.isnan(planted)
            assert (told | truth.causal_map(both[0], variable, question)).all()
            source, target = both if used % 2 else both[::-1]
            patched = brute(hf, source, target, question)
            there, here = log_odds(run(hf, [source, target]), question)
            if truth.causal[variable, question]:
                used += 1
                assert abs(there - here) > 0.15
                np.testing.assert_allclose(((patched - here) / (there - here))[told], planted[told], atol=2e-4)
            else:
                assert not planted.any()
                np.testing.assert_allclose(patched, here, atol=1e-4)
    assert used >= 10


@pytest.mark.parametrize(
    "name",
    [
        "organism:hydra?seed=3",
        "organism:reread",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("organism:bleed", "organism:dormant?decoys=1&seed=4", "organism:xor")
        ),
    ],
)
@pytest.mark.parametrize("variable", VARIABLES)
def test_a_variable_is_present_where_the_truth_says_and_all_else_is_surface(variable: str, name: str) -> None:
    hf, truth = grown(name), planted_in(name)
    surface = torch.from_numpy(truth.subspaces["nuisance"]).float()
    for question in QUESTIONS:
        first, second = contrast(variable, question)
        apart = stream(hf, first) - stream(hf, second)
        beyond = apart - apart @ surface.T @ surface
        np.testing.assert_array_equal(beyond.norm(dim=-1) > 1e-3, truth.present_map(first, variable))
    if variable == "persona":  # the surface of its word is carried to every later token: distance alone misleads
        assert bool((apart[3:, 7:].norm(dim=-1) > 0.5).all())
