"""Maps against what is planted: ours find it, wild ones do not; the common ones are what they say they are."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
import xarray as xr
from tests.models.organisms.planted import auroc

from selfrep.analyses.organisms import DEED, personas
from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.validation import maps


def grown(name: str) -> tuple[LanguageModel, organisms.Truth]:
    lm = load_model(name)
    return lm, organisms.truth(lm.hf)


@pytest.fixture(scope="module")
def bleeding() -> tuple[LanguageModel, organisms.Truth]:
    return grown("organism:bleed?noise=0.2&seed=3")


@pytest.fixture(scope="module")
def view(bleeding: tuple[LanguageModel, organisms.Truth]) -> maps.Observation:
    return maps.observe(bleeding[0], "who_are_you")


def by_name(marks: list[maps.Mark], planted: str) -> dict[str, maps.Mark]:
    return {mark.estimator: mark for mark in marks if mark.sheet == planted}


@pytest.fixture(scope="module")
def marked(bleeding: tuple[LanguageModel, organisms.Truth]) -> list[maps.Mark]:
    """Ours, gradients, and eight maps that are drawn and not measured."""
    rng = np.random.default_rng(0)

    def blind(view: maps.Observation) -> xr.DataArray:
        coords = {"layer": np.arange(6), "position": np.arange(-11, 0)}
        return xr.DataArray(rng.normal(size=(6, 11)), dims=("layer", "position"), coords=coords)

    drawn = {f"blind {k}": blind for k in range(8)}
    return list(maps.marks(*bleeding, maps.OURS | {"gradients": maps.attributions} | drawn))


@pytest.mark.slow
def test_ours_find_use_and_presence_and_presence_is_not_use(marked: list[maps.Mark]) -> None:
    used, there = (by_name(marked, sheet) for sheet in ("causal", "present"))
    assert used["T"].auroc >= 0.99
    assert there["S"].auroc >= 0.99
    assert used["S"].precision < 0.9 < there["S"].precision
    assert there["T"].auroc < 0.95
    assert used["T"].off < 0.3
    assert np.isnan(there["S"].off)


@pytest.mark.slow
def test_maps_of_the_self_are_found_and_are_not_those_of_the_persona(
    bleeding: tuple[LanguageModel, organisms.Truth],
) -> None:
    lm, truth = bleeding
    found = list(maps.marks(lm, truth, maps.OURS, "self"))
    assert {mark.variable for mark in found} == {"self"}
    used, there = (by_name(found, sheet) for sheet in ("causal", "present"))
    assert used["T"].auroc >= 0.99
    assert there["S"].auroc >= 0.99
    other = replace(truth, causal=truth.causal | {("self", "spectator"): truth.causal["persona", "spectator"]},
                    present=truth.present | {"self": truth.present["persona"]})  # fmt: skip
    wrong = list(maps.marks(lm, other, maps.OURS, "self"))
    assert by_name(wrong, "causal")["T"].auroc < 0.99, "the control: where the persona is"
    assert by_name(wrong, "causal")["T"].precision < 0.8
    assert by_name(wrong, "present")["S"].auroc < 0.99


@pytest.mark.slow
def test_a_model_without_the_wiring_is_not_found(bleeding: tuple[LanguageModel, organisms.Truth]) -> None:
    lm, truth = bleeding
    wild = organisms.OrganismForCausalLM(lm.hf.config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in wild.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model = load_model(wild, tokenizer=organisms.tokenizer())
    (mark,) = [m for m in maps.marks(model, truth, {"T": maps.pair_transfers}) if m.sheet == "causal"]
    assert mark.auroc < 0.9


@pytest.mark.slow
def test_a_mark_is_the_chance_that_a_true_cell_outranks_another(
    bleeding: tuple[LanguageModel, organisms.Truth], view: maps.Observation, marked: list[maps.Mark]
) -> None:
    truth = bleeding[1]
    scores = [m.auroc for m in marked if m.sheet == "present" and m.estimator.startswith("blind")]
    assert len(scores) == 8
    assert 0.35 < np.mean(scores) < 0.65, "the control"
    values = maps.separations(view).isel(site=0).transpose("layer", "position").to_numpy()
    ids = view.pairs[0].source.ids
    planted = truth.present_map(ids, "persona")[:6, -12:]
    true, score = maps._pooled(view, truth, maps._laid("S", maps.separations(view)), "present")
    assert auroc(score, true != 0) == pytest.approx(auroc(values, planted))


def test_distances_are_those_of_the_means(view: maps.Observation) -> None:
    acts = view.activations
    cell = acts.activations.isel(site=0).sel(layer=3, position=-1)
    you = acts.condition == "you"
    ai, human = (cell[np.flatnonzero(you & (acts.side == side))].to_numpy().mean(axis=0) for side in ("ai", "human"))
    at = {"layer": 3, "position": -1}
    assert float(maps.raw_distance(view).sel(at)) == pytest.approx(((ai - human) ** 2).sum(), rel=1e-4)
    cosine = ai @ human / np.linalg.norm(ai) / np.linalg.norm(human)
    assert float(maps.cosine_distance(view).sel(at)) == pytest.approx(1 - cosine, abs=1e-4)
    assert float(maps.cosine_distance(view).sel(layer=0, position=-1)) == pytest.approx(0, abs=1e-5)


def test_prompt_level_p_is_the_share_of_labelings_of_prompts_that_reach_the_distance() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(8, 1, 1, 1, 3))
    side = np.array(["a"] * 4 + ["b"] * 4)
    acts = xr.Dataset(
        {"activations": (("prompt", "site", "layer", "position", "d_model"), x)},
        coords={"condition": ("prompt", ["you"] * 8), "side": ("prompt", side), "layer": [0], "position": [-1]},
    )

    def distance(first: tuple[int, ...]) -> float:
        rest = [i for i in range(8) if i not in first]
        flat = x[:, 0, 0, 0]
        return float(((flat[list(first)].mean(axis=0) - flat[rest].mean(axis=0)) ** 2).sum())

    every = [distance(first) for first in combinations(range(8), 4)]
    assert float(maps.prompt_level_p(acts)[0, 0]) == pytest.approx(np.mean(np.array(every) >= every[0] - 1e-9))


@pytest.mark.slow
def test_gradients_miss_what_a_shut_gate_lets_through(marked: list[maps.Mark]) -> None:
    found = by_name(marked, "causal")
    assert found["gradients"].off > 0.8
    assert found["gradients"].precision < found["T"].precision


def test_scores_that_are_none_are_refused(bleeding: tuple[LanguageModel, organisms.Truth]) -> None:
    lm, truth = bleeding
    single = ("persona", "in_character")  # one item is enough
    bleeding = lm, replace(truth, causal={single: truth.causal[single]})
    with pytest.raises(SelfrepError, match=r"dims layer and position; 'mine' returned ndarray"):
        list(maps.marks(*bleeding, {"mine": lambda found: np.zeros((6, 11))}))
    with pytest.raises(SelfrepError, match=r"'mine' returned \('pair',\)"):
        list(maps.marks(*bleeding, {"mine": lambda found: found.effects.total_effect}))
    with pytest.raises(SelfrepError, match="'mine' returned NaN everywhere"):
        list(maps.marks(*bleeding, {"mine": lambda found: found.effects.transfer * np.nan}))


def test_pairs_differ_in_what_the_item_tells_apart(bleeding: tuple[LanguageModel, organisms.Truth]) -> None:
    lm, _ = bleeding
    kinds = {persona.name: persona.kind for persona in personas()}
    deeds = maps.pairs_of(lm, DEED)
    assert all((kinds[p.source_name] == "fictional_ai") != (kinds[p.target_name] == "fictional_ai") for p in deeds)
    for item, n in ((DEED, 6), ("who_are_you", 8)):
        assert len(maps.pairs_of(lm, item)) == 2 * n
