"""|T| over the heads and MLPs of models from elsewhere, marked against the circuit that is known of them.

Organisms are ours, and so might be their blind spots; Tracr and InterpBench are not. Each head's output and each MLP's
is patched at every position, and a component scores the largest |T| that it has anywhere. No threshold was set
beforehand: these rows are printed and not judged.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
import xarray as xr

from selfrep.engine import reference
from selfrep.engine.attribution import attribute_tokens
from selfrep.engine.metrics import Metric, logit_difference, logit_metric
from selfrep.engine.patch import patch_tokens
from selfrep.engine.plan import grid
from selfrep.errors import SelfrepError
from selfrep.models.external import Component, KnownCircuit
from selfrep.models.external.inputs import Prompt
from selfrep.prompts.alignment import right_aligned
from selfrep.validation.card import ExternalExamination, Row, spread
from selfrep.validation.maps import Mark, ranks, size

PAIRS = 32
"""How many pairs of inputs are patched; drawn where the user names none."""
TRIES = 100
"""How many are drawn for each before a model is given up whose output never differs."""
LEAST = 1e-4
"""Outputs that differ by no more are the same, and so is a |T| that is no more: what floating-point noise does."""
PART = "External truth"


def examine(known: KnownCircuit, seed: int = 0) -> ExternalExamination:
    """Patch every component of a model at every position, and mark the map against its circuit.

    Raises:
        SelfrepError: no pair of inputs that differ in the model's output.
    """
    pairs = differing(known, seed)
    source, target = (right_aligned([pair[end] for pair in pairs], -1, np.int64) for end in (0, 1))
    plan, metric = grid("z") | grid("mlp_out"), _metric(known, pairs)
    with warnings.catch_warnings():  # a model that attends both ways is patched by whole passes; it is small
        warnings.filterwarnings("ignore", message=r"(?s).*Each cell takes a whole forward pass")
        exact = patch_tokens(known.lm, source, target, plan, metric)
    linear = attribute_tokens(known.lm, source, target, plan, metric)
    sizes = {"T": transfer_sizes(exact), "attribution alone": transfer_sizes(linear)}
    return ExternalExamination(
        name=known.name,
        origin=known.origin,
        pairs=len(pairs),
        scores={component: {name: scores[component] for name, scores in sizes.items()} for component in sizes["T"]},
        circuit=known.circuit,
        marks=tuple(marks(sizes, known.circuit)),
    )


def marks(sizes: dict[str, dict[Component, float]], circuit: frozenset[Component]) -> Iterator[Mark]:
    """How well each estimator ranks the components of a circuit above all others, of those that it gives a number."""
    for name, scores in sizes.items():
        finite = {component: score for component, score in scores.items() if np.isfinite(score)}
        true = np.array([component in circuit for component in finite])
        if rank := ranks(true, np.array(list(finite.values()))):
            yield Mark(name, "causal", *rank)


def transfer_sizes(effects: xr.DataTree) -> dict[Component, float]:
    """The largest |T| over positions of every head and MLP: 0 where it is floating-point noise, NaN where T is not
    identified."""
    heads, mlps = (effects[site].to_dataset() for site in ("z", "mlp_out"))
    parts = {head: heads.sel(head=head, drop=True) for head in heads["head"].to_numpy().tolist()} | {None: mlps}
    largest = {head: _largest(part) for head, part in parts.items()}
    layers = range(mlps.sizes["layer"])
    order = [Component(layer, head) for layer in layers for head in largest if head is not None]
    scores = {one: float(largest[one.head][one.layer]) for one in (*order, *map(Component, layers))}
    return {one: 0.0 if score <= LEAST else score for one, score in scores.items()}


def _largest(effects: xr.Dataset) -> np.ndarray:
    """[layer] the largest |T| over positions, each of the pairs whose inputs both have the position."""
    names = [str(pair) for pair in range(effects.sizes["pair"])]
    labels = {"direction": ["denoise"] * len(names), "source": names, "target": names}
    labelled = effects.assign_coords({name: ("pair", values) for name, values in labels.items()})
    sizes = []
    for position in effects.position.to_numpy():
        here = labelled.sel(position=[position])
        here = here.isel(pair=np.flatnonzero(here.patched.notnull().all(("layer", "position"))))
        sizes.append(size(here).to_numpy()[0, :, 0])
    return np.fmax.reduce(sizes)


def differing(known: KnownCircuit, seed: int = 0) -> list[tuple[Prompt, Prompt]]:
    """Pairs of inputs at whose last token the model's outputs differ: the user's, or drawn ones.

    Raises:
        SelfrepError: there is none.
    """
    inputs, rng = known.inputs, np.random.default_rng(seed)
    candidates = inputs.pairs or ((inputs.draw(rng), inputs.draw(rng)) for _ in range(PAIRS * TRIES))
    different = (pair for pair in candidates if _differ(*(output(known, prompt) for prompt in pair)))
    pairs = list(islice(different, None if inputs.pairs else PAIRS))
    if not pairs:
        which = f"the {len(inputs.pairs)} pairs it names" if inputs.pairs else f"{PAIRS * TRIES} pairs that were drawn"
        raise SelfrepError(
            f"Patching needs inputs that the model answers differently at their last token; {known.name} answers none "
            f'of {which} differently. Name "pairs" that it does.'
        )
    return pairs


def output(known: KnownCircuit, prompt: Prompt) -> torch.Tensor:
    """[output] what the model says at the last token of an input."""
    return reference.logits(known.lm, np.array(prompt, dtype=np.int64))[0]


def _differ(first: torch.Tensor, second: torch.Tensor) -> bool:
    if len(first) == 1:
        return abs(float(first - second)) > LEAST
    return int(first.argmax()) != int(second.argmax())


def _metric(known: KnownCircuit, pairs: Sequence[tuple[Prompt, Prompt]]) -> Metric:
    """The output itself where it is one number; else how much more the source's answer is said than the target's."""
    outputs = [[output(known, prompt) for prompt in pair] for pair in pairs]
    if len(outputs[0][0]) == 1:
        return logit_metric("output", lambda logits: logits[..., 0, 0], tokens=[0])
    first, second = (torch.stack([ends[k].argmax() for ends in outputs]) for k in (0, 1))
    return logit_difference(first, second)


def rows(examinations: Sequence[ExternalExamination]) -> Iterator[Row]:
    """A row for each mark of each model; and of all models of an origin together, where there are several."""
    for origin in dict.fromkeys(one.origin for one in examinations):
        mine = [one for one in examinations if one.origin == origin]
        if len(ranked := [one for one in mine if one.marks]) > 1:
            yield from _pooled(ranked, f"{origin}, {len(ranked)} models", "their circuits")
        for one in mine:
            model = f"{one.name}, {one.pairs} pairs"
            truth = f"{len(one.circuit)} of {len(one.scores)} heads and MLPs"
            if one.marks:
                yield from _pooled([one], model, truth)
            else:
                nan = float("nan")
                silent = all(np.isnan(scores["T"]) for scores in one.scores.values())
                what = "T is not identified" if silent else "nothing to rank"
                yield Row(PART, what, model, truth, nan, nan, nan, 0)


def _pooled(examinations: Sequence[ExternalExamination], model: str, truth: str) -> Iterator[Row]:
    for what, name in (("AUROC", "auroc"), ("average precision", "precision")):
        values: dict[str, list[float]] = {}
        for mark in (mark for one in examinations for mark in one.marks):
            values.setdefault(mark.estimator, []).append(getattr(mark, name))
        ours = values.pop("T")
        beside = "; ".join(
            f"{estimator} {np.median(v):.2f}, worst {min(v):.2f}" if len(v) > 1 else f"{estimator} {v[0]:.2f}"
            for estimator, v in values.items()
        )
        yield Row(PART, f"{what} of |T|", model, truth, *spread(ours), beside)
