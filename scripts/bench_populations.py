"""The populations of personas, with known truth, from which bench_statistics.py draws answers, texts and behaviours.

The spread between personas and between paraphrases of one persona is that measured on SmolLM2-135M-Instruct. Personas
come in families, whose members are alike (bench_designs.py). Where a shift is planted, personas have luck of their own
about it, part of which they keep in every condition.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import synthetic
import xarray as xr
from bench_designs import Design

Array = np.ndarray
Rng = np.random.Generator

PERSONA_SD, PARAPHRASE_SD = 1.04, 0.57  # nats, as measured on SmolLM2-135M-Instruct
PARAPHRASES, TEXTS = 4, 8  # of a persona; neutral ones
FIELDS = ("form", "condition", "persona", "family", "setting", "paraphrase", "item")


# Answers: [persona, paraphrase, item], the AI side first


def half(design: Design) -> Array:
    """[persona, 1, 1] by how much of a difference between the sides each persona lies above their middle."""
    return np.where(design.sides == 0, 0.5, -0.5)[:, None, None]


def luck(rng: Rng, design: Design, n: int, sd: float = PERSONA_SD, n_items: int = 1) -> Array:
    """[persona, 1, study · item] how personas differ: half of the variance in all items of a study alike."""
    common, own = design.kin(rng, 1, n, 1, sd=sd), design.kin(rng, 1, n, n_items, sd=sd)
    return (np.sqrt(0.5) * (common + own)).reshape(len(own), 1, -1)


def levels(rng: Rng, design: Design, n: int, shift: float | Array, kept: float, n_items: int = 1) -> dict[str, Array]:
    """[persona, 1, study · item] true log odds as "you are X" and as "the user is X", from a neutral of 0."""
    away = half(design) * shift + luck(rng, design, n, n_items=n_items)
    return {
        condition: share * away + luck(rng, design, n, PERSONA_SD / 2, n_items)
        for condition, share in (("you", 1.0), ("user", kept))
    }


def mixed(
    rng: Rng, design: Design, n: int, beta: float, swing: float, lexical: float, echo: float = 1.0
) -> dict[str, Array]:
    """[persona, 1, study] true log odds of a spectator item, (1 − β) · self + β · persona: as it is, after a change of
    the truth, and after the words of that change without it.

    The whole swing, in nats, is what both together move; the persona's words alone move `lexical` of its part, and the
    words of the change `echo` nats, whether or not they are true.
    """
    played = beta * swing * half(design) + luck(rng, design, n)
    true = (1 - beta) * swing / 2
    conditions = {"you": (true, 1.0), "user": (true, lexical), "truth": (-true - echo, 1.0), "echo": (true - echo, 1.0)}
    return {v: self + p * played + luck(rng, design, n, PERSONA_SD / 2) for v, (self, p) in conditions.items()}


def paraphrased(rng: Rng, true: Mapping[str, Array]) -> dict[str, Array]:
    """[persona, paraphrase, item] what is observed: every prompt has luck too. Neutral has texts, and no persona."""
    n_items = next(iter(true.values())).shape[2]
    out = {v: x + rng.normal(0, PARAPHRASE_SD, (len(x), PARAPHRASES, n_items)) for v, x in true.items()}
    return out | {"neutral": rng.normal(0, PARAPHRASE_SD, (1, TEXTS, n_items))}


def observed(values: Mapping[str, Array], design: Design) -> xr.Dataset:
    """The same as `score` returns it; the items are q0, q1, …"""
    items = [f"q{i}" for i in range(next(iter(values.values())).shape[2])]
    return design.labelled(synthetic.behaviour(values, design.names, items))


def behaviour(rng: Rng, true: Mapping[str, Array], design: Design) -> xr.Dataset:
    """What is observed of these true log odds."""
    return observed(paraphrased(rng, true), design)


def scenes(rng: Rng, design: Design, n: int, response: float, capability: float) -> xr.Dataset:
    """A: personas find an anachronism strange, by `response` more than the assistant, who is told of it too. Every
    study is a form of the question."""
    shifts = {"you": 1.0 + response, "assistant": 1.0, "told": capability}
    rows, labels = [], []
    for condition, shift in shifts.items():
        strange = shift + luck(rng, design, n, PERSONA_SD if condition == "you" else PERSONA_SD / 2)[:, 0]
        noise = rng.normal(0, PARAPHRASE_SD, (len(strange), 2, PARAPHRASES, n))
        for i, s, k, study in np.ndindex(noise.shape):
            rows.append((s == 0) * strange[i, study] + noise[i, s, k, study])
            family = f"family{design.families[i]}"
            labels.append((str(study), condition, design.names[i], family, ("strange", "ordinary")[s], k, "q"))
    columns = zip(FIELDS, map(np.array, zip(*labels, strict=True)), strict=True)
    values = {"log_odds": ("prompt", rows), "answer_mass": ("prompt", np.full(len(rows), 0.5))}
    return xr.Dataset(values, coords={name: ("prompt", column) for name, column in columns})


ANSWERED = 2.5
"""Nats: the spread of what personas answer to the items that a spectator foretells."""


def foreseen(rng: Rng, design: Design, agreement: float, let_in: float, n_items: int = 6) -> xr.Dataset:
    """The spectator: what personas answer, and what is foretold of them, correlated by `agreement`; the share `let_in`
    of what they move on average moves what is held true (the item "held")."""
    actual, other, words = (design.kin(rng, 1, n_items, sd=ANSWERED) for _ in range(3))
    foretold = agreement * actual + np.sqrt(1 - agreement**2) * other
    asked = paraphrased(rng, {"you": actual, "foretold": foretold, "foretold_of_reader": words})
    asked["foretold_of_nobody"] = rng.normal(0, PARAPHRASE_SD, (1, TEXTS, n_items))
    held = paraphrased(rng, {"you": let_in * actual.mean(axis=2, keepdims=True)})
    parts = [observed(asked, design), design.labelled(synthetic.behaviour(held, design.names, ["held"]))]
    return xr.concat(parts, "prompt")


def agreement_observed(design: Design, agreement: float) -> float:
    """The correlation of the means of families, paraphrase noise and all; as both are noisy alike, the slope, too."""
    of_families = ANSWERED**2 * design.kin_variance()
    return agreement * of_families / (of_families + PARAPHRASE_SD**2 / (PARAPHRASES * design.members))


# Reasoning: [scenario, paraphrase, ...]


def reasoned(rng: Rng, n: int, at_once: float, full: float) -> xr.Dataset:
    """D: n scenarios with a shift of `full` nats, of which the share `at_once` is there before any reasoning."""
    shares = np.array([0.0, 0.5, 1.0])
    begin, rest = (size + rng.normal(0, PERSONA_SD, (n, 1, 1)) for size in (at_once * full, (1 - at_once) * full))
    odds = rng.normal(0, PARAPHRASE_SD, (n, PARAPHRASES, 2, 3))
    odds[:, :, 1] += begin + rest * shares
    dims = ("scenario", "paraphrase", "version", "share")
    return xr.Dataset({"log_odds": (dims, odds)}, coords={"version": ["without", "with"], "share": shares})


# Texts


def written(rng: Rng, design: Design, apart: float, n_texts: int = 4, *, scrambled: bool = False) -> xr.Dataset:
    """π: texts of 12 words by authors whose choice of words differs by `apart`; scrambled: signed by one another."""
    odds = np.exp(design.kin(rng, 20, sd=apart))
    chance = odds / odds.sum(axis=1, keepdims=True)
    n_authors = len(chance)
    who = rng.permutation(n_authors) if scrambled else np.arange(n_authors)
    words = np.array([rng.choice(20, 12, p=chance[k]) for k in np.repeat(who, n_texts)])
    coords = {"persona": design.names, "author": ("text", np.repeat(design.names, n_texts))}
    texts = xr.Dataset({"log_prob": (("persona", "text", "token"), np.log(chance)[:, words])}, coords=coords)
    return design.labelled(texts, "persona")
