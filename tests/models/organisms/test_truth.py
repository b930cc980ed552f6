"""The answer sheet against brute force; and selfrep's maps against the answer sheet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.models.organisms.planted import (
    auroc,
    contrast,
    entrance,
    grown,
    log_odds,
    moved,
    prompt,
    run,
    stream,
)
from tests.models.organisms.planted import truth as planted_in
from tests.tiny import hooked, ragged
from torch import Tensor

import selfrep as sr
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model
from selfrep.models.organisms.lexicon import token_ids, words
from selfrep.models.sites import RESIDUAL_SITES


@pytest.fixture(scope="module")
def personas() -> sr.personas.PersonaSet:
    return sr.personas.load(organisms.PERSONAS)


@pytest.fixture(scope="module")
def battery() -> sr.battery.Battery:
    return sr.battery.load(organisms.BATTERY)


SUBSPACES = [
    ("PER.persona", 0, 5, "persona", "in_character"),
    ("END.persona", 1, 7, "persona", "in_character"),
    ("END.persona", 2, 7, "persona", "spectator"),
    ("ASST.persona", 3, -1, "persona", "in_character"),
    ("ASST.persona", 4, -1, "persona", "behaviour"),
    ("USR.self", 2, 8, "self", "spectator"),
    ("ASST.self", 4, -1, "self", "behaviour"),
    ("Q.question", 2, 12, "question", "in_character"),
    ("CUE.stakes", 3, 10, "stakes", "behaviour"),
    ("ASST.stakes", 4, -1, "stakes", "behaviour"),
    ("answer", 5, -1, "persona", "in_character"),
    ("answer", 6, -1, "self", "spectator"),
]


@pytest.mark.parametrize(("name", "index", "token", "variable", "question"), SUBSPACES)
def test_all_of_a_cell_s_effect_lies_in_the_planted_subspace(
    name: str, index: int, token: int, variable: str, question: str
) -> None:
    hf = grown("organism:bleed?seed=3")
    rows = planted_in("organism:bleed?seed=3").subspaces[name]
    source, target = contrast(variable, question)
    rest = np.linalg.svd(np.eye(rows.shape[1]) - rows.T @ rows)[2][: -len(rows)]
    shares = [moved(hf, index, token, source, target, basis, question) for basis in (rows, rest)]
    np.testing.assert_allclose(shares, [1, 0], atol=1e-4)


def test_subspaces_are_orthonormal_and_turn_with_the_seed() -> None:
    first, second = (np.concatenate(list(planted_in(f"organism:bleed?seed={s}").subspaces.values())) for s in (0, 3))
    np.testing.assert_allclose(first @ first.T, np.eye(len(first)), atol=1e-12)
    assert 0.05 < np.abs(first @ second.T).mean() < 0.15  # random frames of 128 dimensions: √(2/128π) ≈ 0.07


# Shares, from what the model says to whole prompts: a word is changed, and only the answer is looked at.


def spoken_shares(hf: organisms.OrganismForCausalLM) -> tuple[float, float]:
    """B and M by changing the persona's word, the explicit statement, or both."""

    def share(present: list[str], absent: list[str], question: str, q: str) -> float:
        def said(personas: list[str], own: str) -> float:
            return float(log_odds(run(hf, [prompt(p, own=own, q=q) for p in personas]), question).mean())

        kept, no_persona = said(present, "<self>"), said(absent, "<self>")
        no_self, neither = said(present, "operator"), said(absent, "operator")
        return (kept - no_persona + no_self - neither) / 2 / (kept - neither)

    known = [word for word in words() if word.role == "PER"]
    artificial, fictional, humans = (
        [word.text for word in known if word.content[:2] == code] for code in ((1, 0), (1, 1), (-1, 0))
    )
    bleed = share(artificial + fictional, humans, "spectator", "what")
    return bleed, share(fictional, artificial[: len(fictional)], "behaviour", "how")


@pytest.mark.parametrize(
    ("beta", "w"),
    [
        pytest.param(0.0, 0.0, marks=pytest.mark.slow),
        (0.4, 0.5),
        pytest.param(0.25, 1.0, marks=pytest.mark.slow),
        (1.0, 0.1),
    ],
)
def test_without_noise_the_shares_are_the_parameters(beta: float, w: float) -> None:
    hf = organisms.grow(organisms.Plan(beta=beta, w=w, seed=5))
    truth = organisms.truth(hf)
    np.testing.assert_allclose((truth.bleed, truth.mimicry), (beta, w), atol=1e-5)
    np.testing.assert_allclose(spoken_shares(hf), (beta, w), atol=1e-5)


@pytest.mark.slow
def test_with_noise_the_planted_bleed_is_nearer_to_what_is_said_than_the_parameter_is() -> None:
    planted, spoken = [], []
    for seed in range(12):
        hf = organisms.grow(organisms.Plan(beta=0.4, noise=0.3, seed=seed))
        truth = organisms.truth(hf)
        planted.append((truth.bleed, truth.mimicry))
        spoken.append(spoken_shares(hf))
    planted, spoken, parameters = np.array(planted), np.array(spoken), np.array([0.4, 0.5])
    assert 1e-3 < np.abs(planted - parameters).max() < 0.1
    assert np.abs(spoken - planted).max() < 0.1
    # Bleed only: for mimicry, asked of eight words a side, the parameter is as near. The surface of those words is part
    # of the reason (with SPREAD = 0 the gap shrinks by a third), but not all of it.
    off = [np.sqrt(np.mean((spoken[:, 0] - given) ** 2)) for given in (planted[:, 0], parameters[0])]
    assert off[0] < 0.75 * off[1], off


# The ordinary route: personas, battery, score, pair, patch.


def mean_log_odds(lm: LanguageModel, prompts: list[sr.prompts.prompt.Prompt]) -> float:
    return float(sr.score(lm, prompts).log_odds.mean())


def test_what_an_organism_says_is_what_it_was_planted_to_say(
    personas: sr.personas.PersonaSet, battery: sr.battery.Battery
) -> None:
    beta, w = 0.1, 0.8
    lm = load_model(f"organism:bleed?beta={beta}&w={w}&seed=8")
    played = personas.select(["crawler", "robot", "overlord", "terminator", "sailor", "farmer", "queen", "villain"])
    said = sr.score(lm, sr.make_prompts(played, battery, conditions=("you", "user", "book", "neutral")))
    bound = said.condition.values == "you"  # "the user is", and books, leave the speaker alone
    side = bound * np.where(said.side.values == "ai", 1.0, -1.0)
    danger = np.char.endswith(said.item.values, "danger")
    deed = w * (bound & (said.kind.values == "fictional_ai")) + (1 - w) * danger
    spectator = 1 - beta + beta * side
    for item in battery.names():
        here = said.item.values == item
        if item == "name":  # names of its own side
            assert (said.log_odds.values[here & bound] * side[here & bound] > 1).all()
            continue
        expected = deed if item.startswith("act") else spectator if item.startswith("what") else side
        np.testing.assert_allclose(said.log_odds.values[here], 4 * expected[here], atol=1e-4)
    assert 0.01 < float(said.answer_mass.min()) <= float(said.answer_mass.max()) < 0.9


def test_bleed_is_recovered_from_the_battery_and_its_change_of_the_truth(
    personas: sr.personas.PersonaSet, battery: sr.battery.Battery
) -> None:
    lm = load_model("organism:bleed?beta=0.3&seed=4")
    asked = sr.make_prompts(personas, battery.select(["what_writes"]))
    told = [replace(p, system=f"{p.system} {battery['what_writes'].truth_change}") for p in asked]
    persona = mean_log_odds(lm, [p for p in asked if p.side == "ai"]) - mean_log_odds(
        lm, [p for p in asked if p.side == "human"]
    )
    fact = mean_log_odds(lm, asked) - mean_log_odds(lm, told)
    assert persona / (persona + fact) == pytest.approx(organisms.truth(lm.hf).bleed, abs=1e-4) == 0.3


def pairs_of(lm: LanguageModel, personas: sr.personas.PersonaSet, battery: sr.battery.Battery) -> list:
    items = battery.select(["who_are_you", "what_writes"])
    names = [("assistant", "sailor"), ("oracle", "nurse"), ("chatbot", "lawyer")]
    return [p for k, (a, b) in enumerate(names) for p in sr.pair(lm, personas[a], personas[b], items, paraphrases=[k])]


def score(lm: LanguageModel, truth: organisms.Truth, pairs: list) -> tuple[np.ndarray, np.ndarray]:
    """|T| of selfrep's patch and what is true, over all cells of all pairs."""
    effects = sr.patch(lm, pairs, sr.grid("resid_pre"))
    width = effects.sizes["position"]
    found, planted = [], []
    for i, pair in enumerate(pairs):
        question = "spectator" if pair.item == "what_writes" else "in_character"
        there = ~np.isnan(effects.patched.values[i])
        found.append(np.abs(effects.transfer.values[i])[there])
        planted.append(truth.causal_map(pair.target.ids, "persona", question)[:6, -width:][there])
    return np.concatenate(found), np.concatenate(planted)


@pytest.mark.parametrize(
    ("noise", "seed"),
    [(0, 0), (0.3, 1), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((0, 1), (0, 2), (0.3, 0), (0.3, 2)))],
)
def test_selfrep_finds_the_causal_cells(
    noise: float, seed: int, personas: sr.personas.PersonaSet, battery: sr.battery.Battery
) -> None:
    lm = load_model(f"organism:bleed?noise={noise}&seed={seed}")
    found, planted = score(lm, organisms.truth(lm.hf), pairs_of(lm, personas, battery))
    assert 0.05 < planted.mean() < 0.15
    assert auroc(found, planted) >= 0.99
    rng = np.random.default_rng(seed)
    shuffled = [auroc(found, rng.permutation(planted)) for _ in range(100)]
    assert np.mean(shuffled) < 0.55
    assert max(shuffled) < 0.75


def test_a_model_without_the_wiring_scores_badly(personas: sr.personas.PersonaSet, battery: sr.battery.Battery) -> None:
    planted = grown("organism:bleed")
    scores = []
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        wild = organisms.OrganismForCausalLM(planted.config)
        with torch.no_grad():
            for parameter in wild.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        lm = load_model(wild, tokenizer=organisms.tokenizer())
        scores.append(auroc(*score(lm, planted_in("organism:bleed"), pairs_of(lm, personas, battery))))
    assert max(scores) < 0.9, scores


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_selfrep_s_patch_equals_plain_hooks_cell_by_cell(
    direction: str, personas: sr.personas.PersonaSet, battery: sr.battery.Battery
) -> None:
    lm = load_model("organism:bleed?noise=0.5&seed=6")
    items = battery.select(["who_are_you", "what_writes"])
    pairs = sr.pair(lm, personas["assistant"], personas["queen"], items, paraphrases=[1, 3], directions=[direction])
    effects = sr.patch(lm, pairs, sr.grid("resid_pre"), batch_size=3)
    for i, pair in enumerate(pairs):
        source, target = list(pair.source.ids), list(pair.target.ids)
        n = int((~np.isnan(effects.patched.values[i, 0])).sum())
        assert len(source) != len(target)
        assert n >= 10
        question = "spectator" if pair.item == "what_writes" else "in_character"
        for layer, values in enumerate(stream(lm.hf, source)[:6]):
            for position in range(-n, 0):

                def change(x: Tensor, at: int = position, values: Tensor = values) -> Tensor:
                    x = x.clone()
                    x[0, at] = values[at]
                    return x

                with hooked(*entrance(lm.hf, layer), change):
                    slow = log_odds(run(lm.hf, [target]), question)[0]
                fast = float(effects.patched.sel(layer=layer, position=position)[i])
                assert fast == pytest.approx(slow, rel=1e-4, abs=1e-4)


PLACES = {
    "resid_pre": ("", "in"),
    "resid_mid": ("mlp", "in"),
    "resid_post": ("", "out"),
    "attn_out": ("self_attn", "out"),
    "mlp_out": ("mlp", "out"),
}


@pytest.mark.parametrize("site", RESIDUAL_SITES)
def test_every_site_equals_plain_hooks_on_ragged_tokens(site: str) -> None:
    lm = load_model("organism:bleed?noise=1&seed=7")
    source, target = (
        ragged(lengths, seed=seed, vocabulary=len(token_ids())) for lengths, seed in (((9, 7), 1), ((8, 9), 2))
    )
    for ids in (source, target):
        ids[:, -1], ids[:, -3] = token_ids()["<asst>"], token_ids()["<end>"]
    one, other = token_ids()["machine"], token_ids()["human"]
    effects = sr.patch_tokens(lm, source, target, sr.grid(site), sr.logit_difference(one, other))
    path, end = PLACES[site]
    off, moved = [], []
    for i, (s, t) in enumerate(zip(source, target, strict=True)):
        s, t = s[s >= 0].tolist(), t[t >= 0].tolist()
        for layer in range(6):
            module = lm.hf.model.layers[layer].get_submodule(path)
            heard: list[Tensor] = []

            def hear(x: Tensor, heard: list[Tensor] = heard) -> Tensor:
                heard.append(x[0].clone())
                return x

            with hooked(module, end, hear):
                run(lm.hf, [s])
            for position in range(-min(len(s), len(t)), 0):

                def change(x: Tensor, at: int = position, values: Tensor = heard[0]) -> Tensor:
                    x = x if site == "resid_mid" else x.clone()  # in place: past the MLP too
                    x[0, at] = values[at]
                    return x

                with hooked(module, end, change):
                    logits = run(lm.hf, [t])[0]
                slow = float(logits[one] - logits[other])
                off.append(abs(float(effects.patched.sel(layer=layer, position=position)[i]) - slow))
                moved.append(abs(slow - float(effects.target_metric[i])))
    assert max(off) < 1e-4
    assert max(moved) > 1e-2
