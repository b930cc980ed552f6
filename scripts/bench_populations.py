"""The populations of personas, with known truth, from which bench_statistics.py draws its studies.

The spread between personas and between paraphrases of one persona is that measured on SmolLM2-135M-Instruct. The unit
that is drawn is the persona (for M and D the scenario, for T the pair), as it is the unit of every test and interval.
Where a shift is planted, personas have luck of their own about it, part of which they keep in every condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import synthetic
import xarray as xr

from selfrep.analyses.mediation.estimate import PATCHED
from selfrep.stats.geometry import normalised

Array = np.ndarray
Rng = np.random.Generator

PERSONA_SD, PARAPHRASE_SD = 1.04, 0.57  # nats, as measured on SmolLM2-135M-Instruct
PARAPHRASES = 4
D = 32
FIELDS = ("form", "condition", "persona", "setting", "paraphrase", "item")


# Answers: [persona, paraphrase, item], the AI side first


def half(sides: Array) -> Array:
    """[persona, 1, 1] by how much of a difference between the sides each persona lies above their middle."""
    return np.where(sides == 0, 0.5, -0.5)[:, None, None]


def luck(rng: Rng, n: int, n_items: int = 1, sd: float = PERSONA_SD) -> Array:
    """[persona, 1, item] how personas differ: half of the variance in all items alike."""
    common, own = rng.normal(0, sd, (n, 1, 1)), rng.normal(0, sd, (n, 1, n_items))
    return np.sqrt(0.5) * (common + own)


def levels(rng: Rng, sides: Array, shift: float | Array, kept: float) -> dict[str, Array]:
    """[persona, 1, item] true log odds as "you are X" and as "the user is X", from a neutral of 0."""
    n_items = np.size(shift)
    away = half(sides) * shift + luck(rng, len(sides), n_items)
    return {
        condition: share * away + luck(rng, len(sides), n_items, PERSONA_SD / 2)
        for condition, share in (("you", 1.0), ("user", kept))
    }


def mixed(rng: Rng, sides: Array, beta: float, swing: float, lexical: float) -> dict[str, Array]:
    """[persona, 1, 1] true log odds of a spectator item, (1 − β) · self + β · persona, before and after a truth change.

    The whole swing, in nats, is what both together move. The persona's words alone move `lexical` of its part.
    """
    played = beta * swing * half(sides) + luck(rng, len(sides))
    true = (1 - beta) * swing / 2
    conditions = {"you": (true, played), "user": (true, lexical * played), "truth": (-true, played)}
    return {v: self + persona + luck(rng, len(sides), 1, PERSONA_SD / 2) for v, (self, persona) in conditions.items()}


def paraphrased(rng: Rng, true: Mapping[str, Array]) -> dict[str, Array]:
    """[persona, paraphrase, item] what is observed: every prompt has luck too. Neutral has paraphrases, and no
    persona.
    """
    n_items = next(iter(true.values())).shape[2]
    out = {v: x + rng.normal(0, PARAPHRASE_SD, (len(x), PARAPHRASES, n_items)) for v, x in true.items()}
    return out | {"neutral": rng.normal(0, PARAPHRASE_SD, (1, PARAPHRASES, n_items))}


def observed(values: Mapping[str, Array], names: Sequence[str]) -> xr.Dataset:
    """The same as `score` returns it; the items are q0, q1, …"""
    return synthetic.behaviour(values, names, [f"q{i}" for i in range(next(iter(values.values())).shape[2])])


def behaviour(rng: Rng, true: Mapping[str, Array], names: Sequence[str]) -> xr.Dataset:
    """What is observed of these true log odds."""
    return observed(paraphrased(rng, true), names)


def scenes(rng: Rng, n: int, response: float, capability: float) -> xr.Dataset:
    """A: n personas find an anachronism strange, by `response` more than the assistant, who is told of it too."""
    shifts = {"you": 1.0 + response, "assistant": 1.0, "told": capability}
    rows, labels = [], []
    for condition, shift in shifts.items():
        strange = shift + luck(rng, n, sd=PERSONA_SD if condition == "you" else PERSONA_SD / 2)[:, 0, 0]
        for i, s, k in np.ndindex(n, 2, PARAPHRASES):
            rows.append((s == 0) * strange[i] + rng.normal(0, PARAPHRASE_SD))
            labels.append(("persona", condition, f"p{i}", ("strange", "ordinary")[s], k, "q"))
    columns = zip(FIELDS, map(np.array, zip(*labels, strict=True)), strict=True)
    values = {"log_odds": ("prompt", rows), "answer_mass": ("prompt", np.full(len(rows), 0.5))}
    return xr.Dataset(values, coords={name: ("prompt", column) for name, column in columns})


# Runs of a behaviour: [scenario, paraphrase, ...]


def exchanged(rng: Rng, n: int, fiction: float, motive: float, leak: float, n_random: int = 39) -> xr.Dataset:
    """M: the cue moves n scenarios by `fiction` nats through P, and the stakes by `motive` through S.

    Random subspaces move them by about `leak`, each all scenarios alike. Without `fiction`, P is one of them.
    """
    own = {
        name: size + rng.normal(0, PERSONA_SD, (n, 1)) * (size > 0) for name, size in (("P", fiction), ("S", motive))
    }
    odds = np.empty((n_random + 1, n, PARAPHRASES, 2, 2, len(PATCHED)))
    odds[:] = rng.normal(0, PARAPHRASE_SD, (n, PARAPHRASES, 2, 2))[..., None]
    odds += rng.normal(0, PARAPHRASE_SD / 4, odds.shape)
    chance = leak * rng.normal(size=(n_random + 1, 1, 1))
    chance[0] *= fiction == 0
    for cue, stakes in np.ndindex(2, 2):
        for j, patched in enumerate(PATCHED):
            p = cue ^ (patched in ("P", "both"))
            s = stakes ^ (patched in ("S", "both"))
            odds[0, ..., cue, stakes, j] += own["P"] * p + own["S"] * s
            odds[1:, ..., cue, stakes, j] += own["P"] * cue + own["S"] * stakes
            if patched in ("P", "both"):
                odds[..., cue, stakes, j] += chance * (1 - 2 * cue)
    dims = ("draw", "scenario", "paraphrase", "cue", "stakes", "patched")
    coords = {"draw": np.arange(-1, n_random), "cue": [0, 1], "stakes": [0, 1], "patched": list(PATCHED)}
    return xr.Dataset({"log_odds": (dims, odds)}, coords=coords)


def reasoned(rng: Rng, n: int, at_once: float, full: float) -> xr.Dataset:
    """D: n scenarios with a shift of `full` nats, of which the share `at_once` is there before any reasoning."""
    shares = np.array([0.0, 0.5, 1.0])
    begin, rest = (size + rng.normal(0, PERSONA_SD, (n, 1, 1)) for size in (at_once * full, (1 - at_once) * full))
    odds = rng.normal(0, PARAPHRASE_SD, (n, PARAPHRASES, 2, 3))
    odds[:, :, 1] += begin + rest * shares
    dims = ("scenario", "paraphrase", "version", "share")
    return xr.Dataset({"log_odds": (dims, odds)}, coords={"version": ["without", "with"], "share": shares})


def paired(rng: Rng, pairs: Sequence[tuple[str, str]], truth: float) -> xr.Dataset:
    """T: 2 × 3 cells that carry this share of a total effect of 8 nats."""
    total = 8 + _of_pairs(rng, pairs)[:, 0, 0]
    moved = truth * total[:, None, None] + _of_pairs(rng, pairs, (2, 3))
    return synthetic.effects(pairs, moved, total)


def _of_pairs(rng: Rng, pairs: Sequence[tuple[str, str]], cells: tuple[int, int] = (1, 1)) -> Array:
    """[pair, layer, place] deviations: a share of each persona's own, and one of the pair's."""
    own = {name: rng.normal(0, 0.5, cells) for pair in pairs for name in pair}
    return np.array([own[s] + own[t] + rng.normal(0, 0.5, cells) for s, t in pairs])


# Activations: [persona, paraphrase, layer, place, d]


def activations(
    rng: Rng, sides: Array, gap: float, paraphrases: int = PARAPHRASES, cells: tuple[int, int] = (2, 3)
) -> Array:
    """Persona and paraphrase vary about a mean, in dimensions of unequal spread; the second side is `gap` away."""
    centre = np.random.default_rng(7).normal(0, 1, (*cells, D))
    direction = np.random.default_rng(8).normal(0, 1, (*cells, D)) / np.sqrt(D)
    persona = rng.normal(0, 0.5, (len(sides), 1, *cells, D)) * np.linspace(0.2, 1.8, D)
    paraphrase = rng.normal(0, 0.5, (len(sides), paraphrases, *cells, D))
    return centre + persona + paraphrase + gap * sides[:, None, None, None, None] * direction


def true_separation(gaps: tuple[float, float]) -> tuple[Array, Array]:
    """S of the population in each of two conditions, from many personas: [layer, place]."""
    rng = np.random.default_rng(9)
    sides = np.repeat([0, 1], 4000)
    x = np.concatenate([activations(rng, sides, gap, 1) for gap in gaps])[:, 0]
    out = np.empty((2, 2, 3))
    for layer, place in np.ndindex(2, 3):
        z, _ = normalised(x[:, layer, place])
        for v, condition in enumerate(np.split(z, 2)):
            groups = [condition[sides == s] for s in (0, 1)]
            squared = ((groups[0].mean(0) - groups[1].mean(0)) ** 2).sum()
            bias = sum(g.var(0, ddof=1).sum() / len(g) for g in groups)
            out[v, layer, place] = (squared - bias) / (z**2).sum(1).mean()
    return out[0], out[1]


def cast(rng: Rng, n_roles: int, gap: float, persona: float = 0.5) -> tuple[xr.Dataset, dict[str, float]]:
    """λ: roles about a mean, a default `gap` from it and neutral half-way, with the true λ of all.

    Without a gap the default is a role like the others. Activations lie far from the origin, so that bringing them to
    one length hardly changes the directions.
    """
    base, axis = (np.random.default_rng(seed).normal(size=D) for seed in (11, 12))
    axis /= np.linalg.norm(axis)
    base = 30 * (base - base @ axis * axis)
    own = persona * rng.normal(size=(n_roles + 1, D))
    own[0] = gap * axis if gap else own[0]
    names = ["default", *(f"role{i}" for i in range(n_roles))]
    conditions = {
        condition: (base + x[:, None] + rng.normal(0, 0.2, (len(x), PARAPHRASES, D)))[:, :, None, None]
        for condition, x in (("you", own), ("neutral", gap / 2 * axis[None]))
    }
    acts = synthetic.acts(conditions, names)
    kind = np.where(acts.persona.to_numpy() == "default", "default", "other_model")
    truth = dict(zip(names, own @ axis / gap, strict=True)) | {"neutral": 0.5} if gap else {}
    return acts.assign_coords(kind=("prompt", kind)), truth


# Texts


def written(rng: Rng, apart: float, n_authors: int = 5, n_texts: int = 4, *, scrambled: bool = False) -> xr.Dataset:
    """π: texts of 12 words by authors whose choice of words differs by `apart`; scrambled: signed by one another."""
    odds = np.exp(apart * rng.normal(size=(n_authors, 20)))
    chance = odds / odds.sum(axis=1, keepdims=True)
    who = rng.permutation(n_authors) if scrambled else np.arange(n_authors)
    words = np.array([rng.choice(20, 12, p=chance[k]) for k in np.repeat(who, n_texts)])
    names = np.array([f"p{i}" for i in range(n_authors)])
    coords = {"persona": names, "author": ("text", np.repeat(names, n_texts))}
    return xr.Dataset({"log_prob": (("persona", "text", "token"), np.log(chance)[:, words])}, coords=coords)
