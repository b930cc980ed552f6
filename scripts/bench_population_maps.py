"""The populations, with known truth, from which bench_statistics.py draws activations and patched runs.

Activations are [persona, paraphrase, layer, place, d], of unequal spread over d dimensions. What is true of a
population is taken from thousands of its personas, by products of paraphrases that share no noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import synthetic
import xarray as xr
from bench_designs import Design
from bench_populations import PARAPHRASES, TEXTS

from selfrep.stats.geometry import normalised

Array = np.ndarray
Rng = np.random.Generator
Conditions = dict[str, Array]

D = 32
Cells = tuple[int, int]
CELLS: Cells = (2, 3)
"""Of a map."""
UNEVEN = np.linspace(0.2, 1.8, D)
RISE = np.array([0.0, 0.3, 0.6, 0.85, 1.0])
"""By how much of their final distance from the self personas differ at each layer; squared, half of it is reached at
the fourth of five layers, .75 of the depth."""
MANY = 4000
SIDES = ("within first", "within second")
"""The distance of two personas of one side, by side."""


def _fixed(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape)


# Two sides


def gaps(gap: float) -> Conditions:
    """[d] how the second side differs: as "the user is X" half as far, and at 45 degrees to "you are X"."""
    own, other = (_fixed(seed, D) / np.sqrt(D) for seed in (8, 9))
    return {"you": gap * own, "user": gap / 2 * (own + other) / np.sqrt(2)}


def activations(rng: Rng, design: Design, away: Array, cells: Cells, paraphrases: int = PARAPHRASES) -> Array:
    """Persona and paraphrase vary about a mean; the second side is `away` from the first. Cells are independent."""
    persona = design.kin(rng, 1, *cells, D, sd=0.5) * UNEVEN
    paraphrase = rng.normal(0, 0.5, (len(persona), paraphrases, *cells, D))
    return _fixed(7, D) + persona + paraphrase + design.sides[:, None, None, None, None] * away


def acts(rng: Rng, design: Design, gap: float, cells: Cells = CELLS) -> xr.Dataset:
    """The same in both conditions, as `capture` returns it."""
    values = {name: activations(rng, design, away, cells) for name, away in gaps(gap).items()}
    return design.labelled(synthetic.acts(values, design.names))


@cache
def true_separation(gap: float) -> dict[str, float]:
    """Of the population: S in both conditions, the share that is bound, the cosine of the conditions, and the distance
    of two personas of either side (`SIDES`)."""
    rng, design = np.random.default_rng(10), Design(MANY, MANY)
    x = np.concatenate([activations(rng, design, away, (1, 1), 2)[:, :, 0, 0] for away in gaps(gap).values()])
    z = normalised(x.reshape(-1, D))[0].reshape(x.shape)
    sides = [[half[design.sides == s] for s in (0, 1)] for half in np.split(z / np.sqrt((z**2).sum(-1).mean()), 2)]
    d_you, d_user = (a.mean((0, 1)) - b.mean((0, 1)) for a, b in sides)
    bias = [sum(side.mean(axis=1).var(axis=0, ddof=1).sum() / MANY for side in pair) for pair in sides]
    s, user, shared = d_you @ d_you - bias[0], d_user @ d_user - bias[1], d_you @ d_user
    strays = [side - side.mean(axis=(0, 1)) for side in sides[0]]
    alike = [2 * (side[:, 0] * side[:, 1]).sum(axis=1).mean() for side in strays]  # who is longer varies less
    out = {"": s, "user_is_": user, "bound_share_": 1 - shared / s, "condition_cosine_": shared / np.sqrt(s * user)}
    return {name: float(value) for name, value in (out | dict(zip(SIDES, alike, strict=True))).items()}


def true_identity(design: Design, gap: float) -> float:
    """The distance of two personas of different families, each pair of families counting alike."""
    truth = true_separation(gap)
    alike, sizes = [truth[name] for name in SIDES], (design.first, design.second)
    pairs = [n * (n - 1) / 2 for n in sizes]
    apart = truth[""] + np.mean(alike)
    return float(np.average([*alike, apart], weights=[*pairs, sizes[0] * sizes[1]]))


# The self


SELF = 8.0 * _fixed(15, D)
AWAY = np.sign(_fixed(16, D))


def _at(rng: Rng, design: Design, n: int, away: float, spread: float) -> Array:
    """[persona, layer, study, d] where personas are."""
    return SELF + RISE[:, None, None] * (away * AWAY + spread * design.kin(rng, len(RISE), n, D))


def selves(
    rng: Rng, design: Design, n: int, away: float, spread: float = 1.0, *, wording: bool = False
) -> tuple[xr.Dataset, Array]:
    """Δ: personas at `away` from the self in every dimension, `spread` about there, and where they are; every place is
    a study.

    wording: paraphrases of a family are alike by RHO, so that without any distance all its personas stray together.
    """
    at = _at(rng, design, n, away, spread)
    cells = at.shape[1:]
    noise = (design if wording else Design(len(at))).kin(rng, PARAPHRASES, *cells)
    frames = 0.3 * rng.normal(size=(PARAPHRASES, *cells))
    neutral = SELF + np.tile(frames, (TEXTS // PARAPHRASES, 1, 1, 1)) + 0.5 * rng.normal(size=(TEXTS, *cells))
    conditions = {"you": at[:, None] + frames + 0.5 * noise, "neutral": neutral[None]}
    data = design.labelled(synthetic.acts(conditions, design.names))
    return data.assign_coords(frame=("prompt", data.paraphrase.to_numpy() % PARAPHRASES)), at


def divergences(rng: Rng, at: Array, many: int = 100) -> Array:
    """[persona, layer, study] Δ of each persona, from many of its paraphrases: the product of two halves of these."""
    nobody = _halves(rng, SELF, MANY)
    return np.array([((first - nobody[0]) * (second - nobody[1])).sum(axis=-1) / D for first, second in (
        _halves(rng, persona, many) for persona in at
    )])  # fmt: skip


def _halves(rng: Rng, at: Array, many: int) -> Array:
    """[half, …, d] two means of many paraphrases, each on one scale."""
    x = at + 0.5 * rng.normal(size=(2, many // 2, *at.shape))
    return (x / np.sqrt((x**2).mean(axis=-1, keepdims=True))).mean(axis=1)


@cache
def true_divergence(away: float, spread: float) -> Array:
    """[layer] Δ of the kind: the mean over many personas."""
    rng = np.random.default_rng(17)
    return divergences(rng, _at(rng, Design(MANY), 1, away, spread), 4).mean(axis=(0, 2))


# The default


def cast(rng: Rng, design: Design, n: int, gap: float, persona: float = 0.5) -> tuple[xr.Dataset, Array]:
    """λ: roles about a mean, a default `gap` from it and no persona half-way, and [role, study] the true λ; every place
    is a study.

    Without a gap the default is a role like the others. Activations lie far from the origin, so that bringing them to
    one length hardly changes the directions.
    """
    base, axis = (np.random.default_rng(seed).normal(size=D) for seed in (11, 12))
    axis /= np.linalg.norm(axis)
    base = 30 * (base - base @ axis * axis)
    first = np.broadcast_to(gap * axis, (1, n, D)) if gap else persona * rng.normal(size=(1, n, D))
    own = np.concatenate([first, design.kin(rng, n, D, sd=persona)])
    nobody = np.broadcast_to(gap / 2 * axis, (1, n, D))
    conditions = {
        condition: (base + x[:, None] + rng.normal(0, 0.2, (len(x), PARAPHRASES, n, D)))[:, :, None]
        for condition, x in (("you", own), ("neutral", nobody))
    }
    data = design.labelled(synthetic.acts(conditions, ["default", *design.names]))
    return data, own[1:] @ axis / (gap or np.nan)


# Patched runs


Pairs = Sequence[tuple[str, str]]


def paired(rng: Rng, pairs: Pairs, family: dict[str, str], truth: dict[str, float]) -> xr.Dataset:
    """T: 2 × 3 cells that carry this share, in each direction, of a total effect of 8 nats."""
    parts = []
    total = 8 + _of_pairs(rng, pairs, family)[:, 0, 0]
    for direction, share in truth.items():
        moved = share * total[:, None, None] + _of_pairs(rng, pairs, family, (2, 3))
        parts.append(synthetic.effects(pairs, moved, total, direction=direction))
    both = xr.concat(parts, "pair", combine_attrs="override")
    return both.assign_coords(
        {
            f"{end}_family": ("pair", [family[str(name)] for name in both[end].to_numpy()])
            for end in ("source", "target")
        }
    )


def _of_pairs(rng: Rng, pairs: Pairs, family: dict[str, str], cells: tuple[int, int] = (1, 1)) -> Array:
    """[pair, layer, place] deviations: those of either persona, which are partly its family's, and the pair's own."""
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    kinds = list(dict.fromkeys(family.values()))
    shared, single = (rng.normal(0, 0.5, (len(group), *cells)) for group in (kinds, names))
    alone = {name: list(family.values()).count(family[name]) == 1 for name in names}
    own = {
        name: single[i] if alone[name] else np.sqrt(0.6) * shared[kinds.index(family[name])] + np.sqrt(0.4) * single[i]
        for i, name in enumerate(names)
    }
    own |= {"unprompted": np.zeros(cells)}  # there is one such source, and T is about it
    return np.array([own[s] + own[t] + rng.normal(0, 0.5, cells) for s, t in pairs])
