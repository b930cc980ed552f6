"""Calibration of maps of two sides: S, probes, clusters and the choice of a cell on half of the families; and T."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import bench_population_maps as population
import numpy as np
import synthetic
import xarray as xr
from bench_designs import Design, strangers
from bench_scoring import Rng, Row, anywhere, called, holds, one_by_one
from scipy import ndimage

from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.transfer.estimate import transfer
from selfrep.stats import permutation
from selfrep.stats.clusters import cluster_mass
from selfrep.stats.probes import probe
from selfrep.stats.resampling import ALPHA
from selfrep.stats.selection import select_and_test

Array = np.ndarray
FOR_P: dict[str, Any] = {"n_bootstrap": 2, "n_permutations": 2000}
FOR_INTERVALS: dict[str, Any] = {"n_bootstrap": 499, "n_permutations": 9}


def of_separation(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """S, every cell a study of its own."""
    null = population.acts(rng, design, 0.0, (1, n))
    yield "FPR       separation p", _cells(called(separation(null, **FOR_P).p))
    if design.members > 1:
        yield "control   separation p, personas permuted", _cells(called(separation(strangers(null), **FOR_P).p))
    for gap in (2.0, 6.0):
        truth = population.true_separation(gap)
        acts = population.acts(rng, design, gap, (1, n))
        out, size = separation(acts, **FOR_INTERVALS), f"S = {truth['']:.2f}"
        yield f"coverage  separation {size}", _cells(holds(out, truth[""]))
        for name in ("user_is_", "bound_share_", "condition_cosine_"):
            what = f"{name.replace('_', ' ')}of {truth[name]:.2f}"
            yield f"coverage  separation {what}, {size}", _cells(holds(out, truth[name], name))
        identity = population.true_identity(design, gap)
        yield f"coverage  separation identity, {size}", _cells(holds(out, identity, "identity_"))
        if design.members > 1 and gap > 2:
            wrong = separation(strangers(acts), **FOR_INTERVALS)
            yield f"control   separation {size}, personas as units", _cells(holds(wrong, truth[""]))


def _cells(outcomes: Array) -> Array:
    """[study] of (site, layer, place), where every place is one."""
    return outcomes[0, 0]


@one_by_one
def of_separation_maps(rng: Rng, design: Design) -> Iterator[Row]:
    """A map of six cells a study, none of which differs."""
    out = separation(population.acts(rng, design, 0.0), **FOR_P)
    yield "FPR       separation p_max, any cell of six", anywhere(out.p_max)
    yield "control   separation p, any cell of six", anywhere(out.p)


def of_uneven_separation(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """No distance, but the personas of the first side differ three times as much as the second's."""
    spread = np.where(design.sides == 0, 1.5, 0.5)[:, None, None, None, None]
    centre = 10 * np.random.default_rng(7).normal(0, 1, population.D)  # or bringing all to one length shifts one
    own = spread * design.kin(rng, 1, 1, n, population.D) * population.UNEVEN
    x = centre + own + rng.normal(0, 0.5, (len(own), population.PARAPHRASES, 1, n, population.D))
    out = separation(design.labelled(synthetic.acts({"you": x, "user": x}, design.names)), **FOR_P)
    yield "FPR       separation p, the first side of thrice the SD", _cells(called(out.p))


def of_probe(rng: Rng, design: Design, n: int) -> Iterator[Row]:
    """The accuracy of a probe on families that were left out, and its interval."""
    null = population.acts(rng, design, 0.0, (1, n))
    yield "FPR       probe p", _cells(called(probe(null, n_controls=2).p))
    if design.members > 1:
        yield "control   probe p, personas permuted", _cells(called(probe(strangers(null), n_controls=2).p))
    for gap in (1.5, 3.0):
        out = probe(population.acts(rng, design, gap, (1, n)), n_controls=2, n_permutations=9)
        yield f"coverage  probe accuracy, gap {gap}", _cells(holds(out, _expected_accuracy(gap, design)))


@cache
def _expected_accuracy(gap: float, design: Design) -> float:
    """The mean accuracy over many studies."""
    acts = population.acts(np.random.default_rng(14), design, gap, (1, 500))
    return float(probe(acts, n_permutations=1, n_controls=2).estimate.mean())


@one_by_one
def of_clusters(rng: Rng, design: Design) -> Iterator[Row]:
    """Patches of a map of 6 × 8 cells in which neighbours go together; families are what is labelled."""
    table = ndimage.gaussian_filter(design.kin(rng, 6, 8), (0, 1.5, 1.5))
    sides = {"": (np.arange(design.first + design.second) < design.first, design.families)}
    if design.members > 1:
        sides |= {", personas permuted": (design.sides == 0, np.arange(len(design.names)))}
    for which, (first, unit) in sides.items():
        labels = permutation.labelings(first, 999, rng)
        weights = np.where(labels, 1 / labels.sum(1, keepdims=True), -1 / (~labels).sum(1, keepdims=True))
        means = np.moveaxis([table[unit == k].mean(axis=0) for k in range(len(first))], 0, -1)
        found = cluster_mass(means, weights, absolute=True)
        kind = "control " if which else "FPR     "
        yield f"{kind}  cluster p, any patch{which}", anywhere(np.append(found.p, 1.0))
        if not which:
            cells = permutation.permutation_test(means.reshape(48, -1), weights, absolute=True)
            yield "control   cluster, uncorrected p, any cell", anywhere(cells.p)


@one_by_one
def of_selection(rng: Rng, half: Design) -> Iterator[Row]:
    """The best of six cells, chosen on half of the families and tested on the other; a half is as the column says."""
    if half.first < 4:
        return
    design = Design(2 * half.first, 2 * half.second, half.members)
    null = population.acts(rng, design, 0.0)
    quick = partial(separation, **FOR_P)
    yield "FPR       selected cell p", called(select_and_test(null, quick).p)
    yield "control   smallest p of the cells, not halved", anywhere(quick(null).p)
    truth = population.true_separation(2.0)[""]
    out = select_and_test(population.acts(rng, design, 2.0), partial(separation, **FOR_INTERVALS))
    yield f"coverage  S at the selected cell, S = {truth:.2f}", holds(out, truth)


# Pairs


Crossing = Callable[[], tuple[population.Pairs, dict[str, str]]]
"""Pairs of source and target, and the family of each persona."""


def matched(n: int, members: int = 1) -> tuple[population.Pairs, dict[str, str]]:
    """n families of sources and n of targets; each persona is paired once."""
    design = Design(n, n, members)
    names, half = design.names, n * members
    return list(zip(names[:half], names[half:], strict=True)), _families(design)


def shared(n: int, of: int, members: int = 1) -> tuple[population.Pairs, dict[str, str]]:
    """The personas of n families of sources, each paired with several of the targets' `of` families."""
    design = Design(n, of, members)
    sources, targets = design.names[: n * members], design.names[n * members :]
    return [(sources[j % len(sources)], target) for j, target in enumerate(targets)], _families(design)


def from_self(n: int, members: int = 1) -> tuple[population.Pairs, dict[str, str]]:
    """The unprompted model, and each persona of n families."""
    design = Design(0, n, members)
    return [("unprompted", name) for name in design.names], _families(design) | {"unprompted": "unprompted"}


def crossed(n: int) -> tuple[population.Pairs, dict[str, str]]:
    """Everyone with everyone of the other side."""
    design = Design(n, n)
    return [(a, b) for a in design.names[:n] for b in design.names[n:]], _families(design)


def _families(design: Design) -> dict[str, str]:
    return dict(zip(design.names, (f"family{k}" for k in design.families), strict=True))


@one_by_one
def of_transfer(rng: Rng, crossing: Crossing) -> Iterator[Row]:
    """T in both directions."""
    pairs, family = crossing()
    null = population.paired(rng, pairs, family, {"denoise": 0.0, "noise": 0.0})
    out = transfer(null, n_bootstrap=20, n_flips=999)
    alone = transfer(_as_if_independent(null), n_bootstrap=20, n_flips=999)
    if out.attrs["smallest_p"] < ALPHA:
        yield "FPR       transfer p, denoise", called(out.p.sel(direction="denoise"))
        yield "FPR       transfer p, noise", called(out.p.sel(direction="noise"))
    if alone.attrs["smallest_p"] < min(ALPHA, out.attrs["smallest_p"]):
        yield "control   transfer p, as if no pair shared a family", called(alone.p)
    truth = {"denoise": 0.4, "noise": 0.8}
    data = population.paired(rng, pairs, family, truth)
    out, alone = (transfer(x, n_bootstrap=999, n_flips=99) for x in (data, _as_if_independent(data)))
    for direction, share in truth.items():
        yield f"coverage  transfer T = {share}, {direction}", holds(out.sel(direction=direction), share)
    if alone.attrs["smallest_p"] < out.attrs["smallest_p"]:
        yield "control   transfer T = 0.4, as if no pair shared a family", holds(alone.sel(direction="denoise"), 0.4)


def _as_if_independent(effects: xr.Dataset) -> xr.Dataset:
    """Every pair of two families of its own."""
    _, number = np.unique(np.stack([effects.source, effects.target]), axis=1, return_inverse=True)
    return effects.assign_coords(
        {f"{end}_family": ("pair", [f"{end}{k}" for k in number]) for end in ("source", "target")}
    )
