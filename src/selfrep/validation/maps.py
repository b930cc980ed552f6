"""Maps of a persona over layers and tokens, ours and the common ones, marked against where it is and where it is used.

Every map is an `Estimator`: what was observed of a model goes in, one number a cell comes out, larger where there is
more. A user's own is marked in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
import xarray as xr
from sklearn.metrics import average_precision_score, roc_auc_score

from selfrep.analyses.organisms import DEED, activations, battery, personas, scores
from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.transfer.estimate import transfer
from selfrep.engine.attribution import attribute
from selfrep.engine.interventions import InSubspace
from selfrep.engine.pairs import pair
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth, roles
from selfrep.models.organisms.lexicon import Question
from selfrep.prompts.alignment import PromptPair
from selfrep.stats import permutation

Array = np.ndarray

QUESTIONS: dict[str, Question] = {
    "who_are_you": "in_character", "what_writes": "spectator", DEED: "behaviour", "laptop": "strange",
}  # fmt: skip
"""The items under which maps are made, and what they ask."""

SHUFFLES = 300
"""Prompt-level permutations: the smallest p is 1 / 301."""

Sheet = Literal["causal", "present"]


@dataclass(frozen=True, eq=False)
class Observation:
    """What was observed of a model under one item.

    Attributes:
        lm: the model; pairs: the prompts that were patched into each other.
        effects: from `patch`: every pair (denoise and noise), resid_pre, every token of the common suffix.
        activations: from `capture`: every persona and paraphrase ("you", "user"), resid_pre (prompt, site, layer,
            position, d_model), from the persona's word on.
        behaviour: from `score`: what the same prompts answer.
    """

    lm: LanguageModel
    item: str
    pairs: list[PromptPair]
    effects: xr.Dataset
    activations: xr.Dataset
    behaviour: xr.Dataset


Estimator: TypeAlias = Callable[[Observation], xr.DataArray]
"""Scores over layer and position (and whatever else: direction, pair); NaN where nothing is claimed."""


def observe(lm: LanguageModel, item: str) -> Observation:
    """Patch and capture a model under an item."""
    pairs, acts = pairs_of(lm, item), activations(lm, item, ("you", "user"))
    behaviour = acts.drop_dims(["site", "layer", "position", "d_model"])
    return Observation(lm, item, pairs, patch(lm, pairs, grid("resid_pre")), acts, behaviour)


def pairs_of(lm: LanguageModel, item: str) -> list[PromptPair]:
    """Two personas that the item tells apart, patched into each other both ways: one pair a persona and paraphrase.

    In the deed only fictional machines differ from others; in all else the sides do.
    """
    everyone = personas()
    ai, human = ([p for p in everyone if p.side == side] for side in ("ai", "human"))
    if item == DEED:
        first = [p for p in ai if p.kind == "fictional_ai"] * 3
        second = [p for p in ai if p.kind != "fictional_ai"]
    else:
        first, second = ai, human
    return [
        both
        for k, (source, target) in enumerate(zip(first, second, strict=False))
        for both in pair(lm, source, target, [battery()[item]], paraphrases=[k % 4])
    ]


# Ours


def size(effects: xr.Dataset, behaviour: xr.Dataset | None = None) -> xr.DataArray:
    """|T|; few resamples do, since its interval is not looked at."""
    return abs(transfer(effects, scores=behaviour, n_bootstrap=20, n_flips=20).estimate)


def transfer_sizes(view: Observation) -> xr.DataArray:
    """|T| of exact patching, gated."""
    return size(view.effects, view.behaviour)


def separations(view: Observation) -> xr.DataArray:
    """S."""
    return separation(view.activations, n_permutations=20, n_bootstrap=20).estimate


# What is commonly done instead


def attributions(view: Observation) -> xr.DataArray:
    """|T| by one gradient, never checked against patching, and without a gate."""
    return size(attribute(view.lm, view.pairs, grid("resid_pre")))


def pair_transfers(view: Observation) -> xr.DataArray:
    """|T| of exact patching, pair by pair, however small the effect that it is a share of."""
    return abs(view.effects.transfer)


def raw_distance(view: Observation) -> xr.DataArray:
    """The squared distance between the means of the two sides, as it is."""
    first, second = _sides(view.activations)
    return _map(view.activations, ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum(axis=-1))


def cosine_distance(view: Observation) -> xr.DataArray:
    """One minus the cosine of the means of the two sides."""
    first, second = (x.mean(axis=0) for x in _sides(view.activations))
    length = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    cosine = np.divide((first * second).sum(axis=-1), length, out=np.ones_like(length), where=length > 0)
    return _map(view.activations, 1 - cosine)


def prompt_level(view: Observation) -> xr.DataArray:
    """1 − p of that distance, prompts permuted: as if every paraphrase were a new persona."""
    return 1 - prompt_level_p(view.activations)


def prompt_level_p(acts: xr.Dataset, seed: int = 0) -> xr.DataArray:
    """p of the squared distance between the sides, with the labels of prompts permuted."""
    first, second = _sides(acts)
    x = np.concatenate([first, second]).astype(float)
    x = (x - x.mean(axis=0)).reshape(len(x), -1, x.shape[-1]).transpose(1, 0, 2)  # [cell, prompt, d]
    grams = (x @ x.transpose(0, 2, 1)).reshape(len(x), -1)
    labels = permutation.labelings(np.arange(x.shape[1]) < len(first), SHUFFLES, np.random.default_rng(seed))
    weight = np.where(labels, 1 / len(first), -1 / len(second))
    test = permutation.permutation_test(grams, (weight[:, :, None] * weight[:, None, :]).reshape(len(weight), -1))
    return _map(acts, test.p.reshape(first.shape[1:-1]))


def _sides(acts: xr.Dataset) -> tuple[Array, Array]:
    """[prompt, layer, position, d_model] of either side, in the condition "you"."""
    x, mine = acts.activations.to_numpy()[:, 0], acts.condition.to_numpy() == "you"
    side = acts.side.to_numpy()
    one, other = sorted(set(side[mine].tolist()) - {""})
    return x[mine & (side == one)], x[mine & (side == other)]


def _map(acts: xr.Dataset, values: Array) -> xr.DataArray:
    return xr.DataArray(values, dims=("layer", "position"), coords={k: acts[k] for k in ("layer", "position")})


OURS: dict[str, Estimator] = {"T": transfer_sizes, "S": separations}
COMMON: dict[str, Estimator] = {
    "attribution alone": attributions,
    "T without the gate": pair_transfers,
    "raw distance": raw_distance,
    "plain cosine": cosine_distance,
    "prompt-level permutation": prompt_level,
}


@dataclass(frozen=True)
class Mark:
    """How well a map ranks the cells where a persona is ("present") or is used ("causal") above all others.

    Attributes:
        auroc: the chance that a true cell outranks another; precision: the average precision.
        off: of a causal map, the largest difference from the planted transfer at planted cells.
    """

    estimator: str
    sheet: Sheet
    auroc: float
    precision: float
    off: float = float("nan")


def ranks(true: Array, score: Array) -> tuple[float, float] | None:
    """AUROC and average precision; None where everything is true, or nothing: there is nothing to rank."""
    if true.all() or not true.any():
        return None
    return float(roc_auc_score(true, score)), float(average_precision_score(true, score))


def marks(lm: LanguageModel, truth: Truth, estimators: Mapping[str, Estimator]) -> Iterator[Mark]:
    """Every estimator against every map that is known of an organism, the cells of all items together.

    Raises:
        SelfrepError: an estimator whose scores have no layer and position, or claim nothing at all.
    """
    known = [item for item, question in QUESTIONS.items() if truth.causal.get(("persona", question))]
    views = [observe(lm, item) for item in known]
    maps = {name: [_laid(name, estimator(view)) for view in views] for name, estimator in estimators.items()}
    for sheet in get_args(Sheet):
        if sheet == "present" and "persona" not in truth.present:
            continue
        for name, laid in maps.items():
            pooled = [_pooled(view, truth, score, sheet) for view, score in zip(views, laid, strict=True)]
            share, score = (np.concatenate(part) for part in zip(*pooled, strict=True))
            claims = np.isfinite(score)
            share, score = share[claims], score[claims]
            true = share != 0  # NaN: there, but nobody knows how much
            if rank := ranks(true, score):
                off = float(np.nanmax(abs(score - share)[true])) if sheet == "causal" else float("nan")
                yield Mark(name, sheet, *rank, off)


def _laid(name: str, scores: Any) -> xr.DataArray:
    if not isinstance(scores, xr.DataArray) or not {"layer", "position"} <= set(scores.dims):
        got = scores.dims if isinstance(scores, xr.DataArray) else type(scores).__name__
        raise SelfrepError(
            f"An estimator returns an xarray DataArray with the dims layer and position; {name!r} returned {got}."
        )
    if not bool(scores.notnull().any()):
        raise SelfrepError(f"An estimator gives some cell a number; {name!r} returned NaN everywhere.")
    return scores.transpose(..., "layer", "position")


def _pooled(view: Observation, truth: Truth, scores: xr.DataArray, sheet: Sheet) -> tuple[Array, Array]:
    """What is planted and what is scored, flat, at all cells of which something is known."""
    ids = view.pairs[0].source.ids
    if sheet == "present":
        there = truth.present_map(ids, "persona").astype(float)
    else:
        there = truth.transfer_map(ids, "persona", QUESTIONS[view.item])
        there[truth.causal_map(ids, "persona", QUESTIONS[view.item]) & (there == 0)] = np.nan
    layers = [layer for layer in scores.layer.to_numpy().tolist() if layer in truth.indices]
    if not layers:
        raise SelfrepError(f"Scores are marked at the layers {truth.indices}; got {scores.layer.to_numpy().tolist()}.")
    values = scores.sel(layer=layers).to_numpy().astype(float)
    true = np.broadcast_to(there[np.ix_(layers, scores.position.to_numpy())], values.shape)
    return true.ravel(), values.ravel()


@dataclass(frozen=True)
class Abstention:
    """An item on which nothing of the persona is used, and what T says of it: it should abstain.

    Attributes:
        identified: whether some pair of prompts passed the gate.
        largest: |T| is surely at least this somewhere: the bound of an interval; 0 where nothing is sure.
    """

    item: str
    identified: bool
    largest: float


def abstentions(lm: LanguageModel, truth: Truth) -> Iterator[Abstention]:
    """Where a persona moves no answer there is nothing to transfer: whether T says so, item by item."""
    for item, question in QUESTIONS.items():
        if truth.causal.get(("persona", question), True):
            continue
        effects = patch(lm, pairs_of(lm, item), grid("resid_pre"))
        behaviour = scores(lm, [item], ("you",))
        shares = transfer(effects, scores=behaviour, n_bootstrap=200, n_flips=200)
        least = np.fmax(shares.ci_low, -shares.ci_high)  # |T| is at least this, where above 0; no interval, no claim
        identified = bool(shares.attrs["identified"])
        yield Abstention(item, identified, max(0.0, float(least.fillna(0.0).max())) if identified else 0.0)


def illusion(lm: LanguageModel, truth: Truth) -> tuple[float, float]:
    """The largest |T| at cells that have no part, but hold a subspace that moves the answer: the cell's, and its own.

    Patching a subspace alone gives the second, and calls the cell causal (Makelov et al. 2023).
    """
    pairs = pairs_of(lm, "who_are_you")
    ids = pairs[0].source.ids
    width = int(patch(lm, pairs[:1], grid("resid_pre", layers=[0])).position.size)
    sizes = []
    for (layer, role), rows in truth.illusions.items():
        (token,) = [t for t, name in enumerate(roles(ids)) if name == role]
        at = token - len(ids)
        if -at > width:
            continue
        inside = InSubspace(torch.from_numpy(np.ascontiguousarray(rows.T, dtype=np.float32)))
        cell = partial(grid, "resid_pre", layers=[layer], positions=[at])
        sizes.append([float(size(patch(lm, pairs, plan)).max()) for plan in (cell(), cell(intervention=inside))])
    whole, part = np.max(sizes, axis=0).tolist()
    return whole, part
