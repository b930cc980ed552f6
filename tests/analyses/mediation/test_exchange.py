"""Planted shares come back from organisms, pure cases by proof; an exchange equals hooks; a small model shows none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny import hooked

from selfrep.analyses.mediation.estimate import mediation
from selfrep.analyses.mediation.exchange import mediation_runs, proof_runs
from selfrep.analyses.mediation.fitting import fit_subspaces
from selfrep.analyses.mediation.proof import carrying
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.prompts import scenarios
from selfrep.prompts.chat import chat_format
from selfrep.prompts.render import render

MATERIAL = scenarios.load(organisms.SCENARIOS)
FAST: dict[str, Any] = {"n_flips": 500, "n_bootstrap": 300}


@pytest.mark.parametrize(
    ("w", "seed"),
    [(0.2, 0), (0.5, 3), (0.75, 1)],
)
@pytest.mark.slow  # one such share is in test_truth, and a pure case below
def test_a_planted_share_comes_back(w: float, seed: int) -> None:
    lm = load_model(f"organism:mimicry?w={w}&seed={seed}")
    fitted = fit_subspaces(lm, MATERIAL)
    proven = carrying(proof_runs(lm, MATERIAL, fitted))
    found = mediation(mediation_runs(lm, MATERIAL, fitted), proven=proven, **FAST).squeeze()
    assert found.identified.all(), found.reason.values
    np.testing.assert_allclose(found.estimate, w, atol=0.1)
    np.testing.assert_allclose(found.cue_effect, 4 * w, atol=1e-3)
    np.testing.assert_allclose(found.stakes_effect, 4 * (1 - w), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "w"), [pytest.param("organism:mimicry", 1.0, marks=pytest.mark.slow), ("organism:motive", 0.0)]
)
def test_pure_cases_come_out_once_their_subspaces_are_proven(name: str, w: float) -> None:
    lm = load_model(name)
    fitted = fit_subspaces(lm, MATERIAL)
    proven = carrying(proof_runs(lm, MATERIAL, fitted))
    assert proven == ("P", "S")
    runs = mediation_runs(lm, MATERIAL, fitted)
    assert not mediation(runs, **FAST).identified.any(), "the control: unproven"
    found = mediation(runs, proven=proven, **FAST)
    assert found.identified.all(), found.reason.values
    np.testing.assert_allclose(found.estimate, w, atol=0.1)


def test_a_random_subspace_carries_nothing() -> None:
    lm = load_model("organism:mimicry")
    fitted = fit_subspaces(lm, MATERIAL)
    (random,) = fitted.random(1, seed=99)
    assert carrying(proof_runs(lm, MATERIAL, random)) == ()


def test_an_exchange_is_what_a_hook_would_do() -> None:
    lm = load_model("organism:mimicry?w=0.5")
    fitted = fit_subspaces(lm, MATERIAL)
    few = MATERIAL.select(list(MATERIAL.scenarios)[:2])
    runs = mediation_runs(lm, few, fitted, donors=("cue", "both"), n_random=1, seed=5)
    chat = chat_format(lm.tokenizer)
    (name, scenario), *_ = few.scenarios.items()
    ids = {cell: torch.tensor([render(scenario.prompt(cell, 1), chat).ids]) for cell in scenarios.CELLS}
    tokens = [[organisms.lexicon.token_ids()[t] for t in side] for side in scenario.answer_sets]

    def entering(cell: tuple[int, int]) -> torch.Tensor:
        heard = []
        with hooked(lm.hf.model.layers[fitted.layer], "in", lambda x: heard.append(x[0, -1].clone()) or x):
            lm.hf(ids[cell], use_cache=False)
        return heard[0]

    def odds(cell: tuple[int, int], donor: tuple[int, int], basis: np.ndarray) -> float:
        inside = torch.from_numpy(basis @ basis.T).float()
        move = (entering(donor) - entering(cell)) @ inside

        def change(x: torch.Tensor) -> torch.Tensor:
            x = x.clone()
            x[0, -1] += move
            return x

        with hooked(lm.hf.model.layers[fitted.layer], "in", change), torch.no_grad():
            logits = lm.hf(ids[cell], use_cache=False).logits[0, -1]
        first, second = (logits[side].logsumexp(0) for side in tokens)
        return float(first - second)

    exchanged = fitted.exchanged()
    for donor, order, patched, cell in (
        ("cue", "P first", "P", (0, 0)), ("both", "S first", "P", (1, 0)), ("both", "P first", "S", (0, 1)),
        ("both", "S first", "both", (1, 1)),
    ):  # fmt: skip
        other = (1 - cell[0], 1 - cell[1] if donor == "both" else cell[1])
        found = runs.log_odds.sel(
            donor=donor, order=order, draw=-1, scenario=name, cue=cell[0], stakes=cell[1], patched=patched
        )[1]
        assert float(found) == pytest.approx(odds(cell, other, exchanged[order, patched]), abs=1e-4)
    plain = runs.log_odds.sel(patched="none")
    assert float(plain.std(["order", "donor", "draw"]).max()) == 0
    assert float(plain[0, 0, 0, 0, 1, 1, 1]) == pytest.approx(odds((1, 1), (1, 1), fitted.P), abs=1e-4)


def test_a_refit_is_exchanged_like_any_other_subspaces() -> None:
    lm = load_model("organism:mimicry?w=0.5&noise=0.2")
    fitted, few = fit_subspaces(lm, MATERIAL, n_refits=2), MATERIAL.select(list(MATERIAL.scenarios)[:2])
    runs = mediation_runs(lm, few, fitted, n_random=1)
    assert runs.draw.to_numpy().tolist() == [-1, 0, -2, -3]
    alone = mediation_runs(lm, few, fitted.refits[1], n_random=0).sel(draw=-1)
    np.testing.assert_allclose(runs.sel(draw=-3).log_odds, alone.log_odds, atol=1e-5)
    assert float(abs(runs.sel(draw=-2).log_odds - alone.log_odds).max()) > 1e-4, "the control"


def test_bad_input_is_refused() -> None:
    lm = load_model("organism:mimicry")
    with pytest.raises(SelfrepError, match="A donor differs"):
        mediation_runs(lm, MATERIAL, fit_subspaces(lm, MATERIAL), donors=("all",))
    with pytest.raises(SelfrepError, match="at least 19 random ones; got 3"):
        carrying(proof_runs(lm, MATERIAL, fit_subspaces(lm, MATERIAL), n_random=3))


@pytest.fixture(scope="module")
def smollm2() -> LanguageModel:
    return load_model()


@pytest.mark.slow
def test_a_small_model_is_not_identified_and_its_raw_interaction_is_shown(smollm2: LanguageModel) -> None:
    material = scenarios.builtin()
    fitted = fit_subspaces(smollm2, material)
    runs = mediation_runs(smollm2, material, fitted)
    found = mediation(runs, proven=carrying(proof_runs(smollm2, material, fitted)), **FAST)
    assert not found.identified.any()
    assert all(str(reason) for reason in found.reason.values.ravel())
    assert np.isfinite(found[["cue_by_stakes", "cue_effect", "stakes_effect", "phi", "total"]].to_array()).all()
