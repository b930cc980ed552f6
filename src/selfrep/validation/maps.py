"""Maps of persona and self over layers and tokens, ours and common ones, marked against where they are and are used.

Every map is an `Estimator`: what was observed of a model goes in, one number a cell comes out, larger where there is
more. A user's own is marked in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr
from sklearn.metrics import average_precision_score, roc_auc_score

from selfrep.analyses.organisms import DEED, activations, battery, captured, personas, selves
from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.transfer.estimate import transfer
from selfrep.engine.attribution import attribute
from selfrep.engine.pairs import pair
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth
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
Mapped = Literal["persona", "self"]
"""The variables of which maps are made."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What was observed of a model under one item.

    Attributes:
        lm: the model; pairs: the prompts that were patched into each other.
        variable: what differs between the two sides, and the two ends of a pair: who is played, or who writes.
        effects: from `patch`: every pair (denoise and noise), resid_pre, every token of the common suffix.
        activations: from `capture`: every persona and paraphrase ("you", "user"), resid_pre (prompt, site, layer,
            position, d_model), from the persona's word on; of the self, from the end of the system text on.
        behaviour: from `score`: what the same prompts answer.
    """

    lm: LanguageModel
    item: str
    pairs: list[PromptPair]
    effects: xr.Dataset
    activations: xr.Dataset
    behaviour: xr.Dataset
    variable: Mapped = "persona"


Estimator: TypeAlias = Callable[[Observation], xr.DataArray]
"""Scores over layer and position (and whatever else: direction, pair); NaN where nothing is claimed."""


def observe(lm: LanguageModel, item: str, variable: Mapped = "persona") -> Observation:
    """Patch and capture a model under an item."""
    if variable == "persona":
        pairs, acts = pairs_of(lm, item), activations(lm, item, ("you", "user"))
    else:
        pairs, acts = pairs_of_selves(lm, item), captured(lm, selves(item), 1)
    behaviour = acts.drop_dims(["site", "layer", "position", "d_model"])
    return Observation(lm, item, pairs, patch(lm, pairs, grid("resid_pre")), acts, behaviour, variable)


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


def pairs_of_selves(lm: LanguageModel, item: str) -> list[PromptPair]:
    """The model itself and an operator, as writers, patched into each other: one pair a persona, in one paraphrase."""
    asked = selves(item, ["you"])
    couples = [
        (itself, operator)
        for k, (itself, operator) in enumerate(zip(asked[::2], asked[1::2], strict=True))
        if itself.paraphrase == k // 4 % 4
    ]
    return [both for itself, operator in couples for both in pair(lm, itself, operator)]


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
    size = np.sqrt((x**2).sum(axis=-1).mean(axis=0)).ravel()
    x = (x - x.mean(axis=0)).reshape(len(x), -1, x.shape[-1]).transpose(1, 0, 2)  # [cell, prompt, d]
    grams = (x @ x.transpose(0, 2, 1)).reshape(len(x), -1)
    labels = permutation.labelings(np.arange(x.shape[1]) < len(first), SHUFFLES, np.random.default_rng(seed))
    weight = np.where(labels, 1 / len(first), -1 / len(second))
    length = np.sqrt((x**2).sum(axis=-1)) * size[:, None]  # of a row, times that of what it was subtracted from
    scale = np.maximum(length[:, :, None], length[:, None, :]).reshape(grams.shape)
    weights = (weight[:, :, None] * weight[:, None, :]).reshape(len(weight), -1)
    test = permutation.permutation_test(grams, weights, scale=scale)
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
OF_SELF = (*OURS, "raw distance")
"""The maps that are made of the self, too."""


@dataclass(frozen=True)
class Mark:
    """How well a map ranks the cells where a variable is ("present") or is used ("causal") above all others.

    Attributes:
        auroc: the chance that a true cell outranks another; precision: the average precision.
        off: of a causal map, the largest difference from the planted transfer at planted cells.
    """

    estimator: str
    sheet: Sheet
    auroc: float
    precision: float
    off: float = float("nan")
    variable: Mapped = "persona"


def ranks(true: Array, score: Array) -> tuple[float, float] | None:
    """AUROC and average precision; None where everything is true, or nothing: there is nothing to rank."""
    if true.all() or not true.any():
        return None
    return float(roc_auc_score(true, score)), float(average_precision_score(true, score))


def marks(
    lm: LanguageModel, truth: Truth, estimators: Mapping[str, Estimator], variable: Mapped = "persona"
) -> Iterator[Mark]:
    """Every estimator against every map that is known of an organism, the cells of all items together.

    Where the means of two sides coincide, though the persona is there, no map of sides is marked (see `claims.hidden`).

    Raises:
        SelfrepError: an estimator whose scores have no layer and position, or claim nothing at all.
    """
    known = [item for item, question in QUESTIONS.items() if truth.causal.get((variable, question))]
    views = [observe(lm, item, variable) for item in known]
    if not views:
        return
    maps = {name: [_laid(name, estimator(view)) for view in views] for name, estimator in estimators.items()}
    for sheet in get_args(Sheet):
        if sheet == "present" and (variable not in truth.present or (variable == "persona" and truth.hidden)):
            continue
        for name, laid in maps.items():
            pooled = [_pooled(view, truth, score, sheet) for view, score in zip(views, laid, strict=True)]
            share, score = (np.concatenate(part) for part in zip(*pooled, strict=True))
            claims = np.isfinite(score)
            share, score = share[claims], score[claims]
            true = share != 0  # NaN: there, but nobody knows how much
            if rank := ranks(true, score):
                off = float(np.nanmax(abs(score - share)[true])) if sheet == "causal" else float("nan")
                yield Mark(name, sheet, *rank, off, variable)


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
        there = truth.present_map(ids, view.variable).astype(float)
    else:
        there = truth.transfer_map(ids, view.variable, QUESTIONS[view.item])
        there[truth.causal_map(ids, view.variable, QUESTIONS[view.item]) & (there == 0)] = np.nan
    layers = [layer for layer in scores.layer.to_numpy().tolist() if layer in truth.indices]
    if not layers:
        raise SelfrepError(f"Scores are marked at the layers {truth.indices}; got {scores.layer.to_numpy().tolist()}.")
    values = scores.sel(layer=layers).to_numpy().astype(float)
    true = np.broadcast_to(there[np.ix_(layers, scores.position.to_numpy())], values.shape)
    return true.ravel(), values.ravel()
