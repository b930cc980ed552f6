"""What is fitted on held-out words holds what is planted, and the parts of a pair add up to their whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selfrep.analyses.mediation import fitting
from selfrep.analyses.mediation.estimate import NUDGE
from selfrep.analyses.mediation.fitting import (
    N_REFITS,
    Subspaces,
    _basis,
    _discriminants,
    _weights,
    default_layer,
    fit_subspaces,
)
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.loading import load_model
from selfrep.prompts import scenarios
from selfrep.prompts.subspaces import Contrast, SubspaceMaterial

MATERIAL = scenarios.load(organisms.SCENARIOS)


def cosines(basis: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How much of each of these directions lies in a subspace."""
    return np.linalg.norm(rows @ basis, axis=1)


LEAST = 0.83
"""How much of the fictional direction lies in P where the surfaces of words are drawn anew: in 3,000 draws of the words
of the material the median was .968, one in a hundred below .883, and one in a thousand below .83. Four texts are
fictional, and each synonym brings a surface of its own, 1.4 a dimension beside a meaning of 1."""


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_fitted_subspaces_hold_what_is_planted(seed: int) -> None:
    lm = load_model(f"organism:mimicry?w=0.5&seed={seed}")
    planted = organisms.truth(lm.hf).subspaces
    fitted = fit_subspaces(lm, MATERIAL, n_refits=0)
    assert fitted.layer == default_layer(lm) == 4
    fictional = planted["ASST.persona"][[1]]
    assert cosines(fitted.P, fictional) > LEAST
    assert cosines(fitted.S, planted["ASST.stakes"]) > 0.9
    assert cosines(fitted.S, fictional) < 0.2, "the control"


def test_without_the_surfaces_of_words_nothing_of_what_is_planted_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where and whose a persona is also differs between the kinds; weighing by how texts of a kind vary removes it."""
    lm = load_model("organism:mimicry?w=0.5&seed=1")
    planted, words = organisms.truth(lm.hf).subspaces, lm.hf.get_input_embeddings().weight
    surface = torch.from_numpy(planted["nuisance"]).to(words)
    with torch.no_grad():
        words -= words @ surface.T @ surface
    fictional = planted["ASST.persona"][[1]]
    fitted = fit_subspaces(lm, MATERIAL, n_refits=0)
    assert cosines(fitted.P, fictional) > 0.9999
    assert cosines(fitted.S, planted["ASST.stakes"]) > 0.9999
    monkeypatch.setattr(fitting, "_discriminants", lambda differences, *_: differences)
    assert cosines(fit_subspaces(lm, MATERIAL, n_refits=0).P, fictional) < 0.95, "the control: plain differences"


def test_what_held_out_texts_confound_stays_confounded() -> None:
    """Both fictional AIs have one place: without texts that tell place from fiction, P takes the one for the other."""
    material = MATERIAL.subspaces["P"]
    fiction = material.model_copy(update={"rank": 2, "contrasts": {"fiction": material.contrasts["fiction"]}})
    confounded = MATERIAL.model_copy(update={"subspaces": {**MATERIAL.subspaces, "P": fiction}})
    lm = load_model("organism:mimicry")
    fictional = organisms.truth(lm.hf).subspaces["ASST.persona"][[1]]
    assert cosines(fit_subspaces(lm, confounded).P, fictional) < 0.9


def test_orders_are_orthogonal_and_span_the_same() -> None:
    rng = np.random.default_rng(0)
    p, s = (np.linalg.qr(rng.normal(size=(20, k)))[0] for k in (2, 3))
    parts = Subspaces(1, p, s).exchanged()
    whole = parts["P first", "both"]
    for order in ("P first", "S first"):
        np.testing.assert_allclose(parts[order, "P"].T @ parts[order, "S"], 0, atol=1e-12)
        for patched in ("P", "S"):
            basis = parts[order, patched]
            np.testing.assert_allclose(whole @ (whole.T @ basis), basis, atol=1e-12)
    np.testing.assert_allclose(parts["P first", "P"], p)
    np.testing.assert_allclose(parts["S first", "S"], s)
    assert all(len(draw.P.T) == 2 and len(draw.S.T) == 3 for draw in Subspaces(1, p, s).random(3))
    with pytest.raises(SelfrepError, match="overlap in a whole direction"):
        Subspaces(1, p, np.hstack([p[:, :1], s[:, :1]]))


def test_a_layer_or_a_rank_that_is_not_there_is_refused() -> None:
    lm = load_model("organism:mimicry")
    with pytest.raises(SelfrepError, match="one of 0 … 5"):
        fit_subspaces(lm, MATERIAL, layer=9)
    deaf = MATERIAL.subspaces["S"].contrasts["goals"]
    same = deaf.model_copy(update={"against": {"x": deaf.of}})
    broken = MATERIAL.subspaces["S"].model_copy(update={"contrasts": {"goals": same, "again": same}})
    with pytest.raises(SelfrepError, match="look the same to the model"):
        fit_subspaces(lm, MATERIAL.model_copy(update={"subspaces": {**MATERIAL.subspaces, "S": broken}}))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_texts_that_vary_by_rounding_weigh_no_difference(size: float) -> None:
    rng = np.random.default_rng(0)
    differences, within = size * rng.normal(size=(2, 8)), size * rng.normal(size=(6, 8))
    within[:, 0] *= 20  # the texts of a kind differ in one direction most
    unit = differences / np.linalg.norm(differences, axis=1, keepdims=True)
    for rounding in (0.0, 1e-17):
        np.testing.assert_allclose(_discriminants(differences, rounding * within, 3, size), unit, atol=1e-9)
    assert not np.allclose(_discriminants(differences, within, 3, size), unit, atol=0.01), "the control"
    for rounding in (0.0, 1e-17):
        with pytest.raises(SelfrepError, match="look the same to the model"):
            _discriminants(rounding * differences, within, 3, size)


def test_refits_are_of_the_same_texts_and_can_be_had_again() -> None:
    lm = load_model("organism:mimicry?noise=0.2")
    fitted, again, other = (fit_subspaces(lm, MATERIAL, seed=seed) for seed in (0, 0, 1))
    assert len(fitted.refits) == N_REFITS
    np.testing.assert_array_equal(fitted.refits[3].P, again.refits[3].P)
    assert not np.allclose(fitted.refits[3].P, other.refits[3].P)
    np.testing.assert_array_equal(fitted.P, other.P)
    assert fit_subspaces(lm, MATERIAL, n_refits=0).refits == ()
    for one in (*fitted.refits, fitted.random(1)[0]):
        near = np.linalg.svd(fitted.P.T @ one.P, compute_uv=False).min()
        assert (near > 0.9) == (one in fitted.refits), "a random subspace is the control"


def test_refits_spread_as_far_as_fits_of_other_texts_do() -> None:
    """Kinds of Gaussian texts drawn anew, and how much of a planted direction is caught."""
    rng = np.random.default_rng(0)
    kinds = {"of": [f"of {i}" for i in range(12)], "against": [f"against {i}" for i in range(12)]}
    material = SubspaceMaterial.model_validate(
        {
            "rank": 1,
            "contrasts": {"x": Contrast(of=kinds["of"], against={"other": kinds["against"]})},
            "probes": [{"question": "What are you?"}],
        }
    )
    asked = MATERIAL.model_copy(update={"subspaces": {"P": material, "S": material}})
    planted = np.eye(6)[0]

    def caught(mean: dict[str, np.ndarray], n_refits: int) -> np.ndarray:
        bases = [
            _basis("x", material, mean, 3.0, w) for w in _weights(asked.subspaces, n_refits, np.random.default_rng(1))
        ]
        return np.array([(planted @ basis)[0] * np.sign(basis[0, 0]) for basis in bases])

    found, spread = [], []
    for _ in range(150):
        mean = {text: rng.normal(size=6) + 3 * planted * (kind == "of") for kind in kinds for text in kinds[kind]}
        first, *moved = caught(mean, 8)
        found.append(first)
        spread.append(np.mean((np.array(moved) - first) ** 2) / NUDGE**2)
    assert np.sqrt(np.mean(spread)) == pytest.approx(np.std(found), rel=0.35)
