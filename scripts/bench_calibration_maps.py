"""Calibration of what is read from maps: S, T, λ, probes, clusters, and the choice of a cell on half of the personas.

Cells of one map count together, since they share their personas.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial

import bench_populations as population
import numpy as np
import synthetic
from bench_scoring import Rng, Row, called, holds, sided
from scipy import ndimage

from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.transfer.estimate import transfer
from selfrep.stats import permutation
from selfrep.stats.clusters import cluster_mass
from selfrep.stats.probes import probe
from selfrep.stats.resampling import ALPHA
from selfrep.stats.selection import select_and_test

Array = np.ndarray
true_separation = cache(population.true_separation)


def of_separation(rng: Rng, n: int) -> Iterator[Row]:
    """S at six cells: labels dealt at random for the tests, planted distances for the intervals."""
    names, sides, size = sided(n)
    dealt = rng.permutation(sides)
    null = {condition: population.activations(rng, dealt, 6.0) for condition in ("you", "user")}
    out = separation(synthetic.acts(null, names), n_bootstrap=20)
    yield f"FPR       separation p, per cell, {size}", called(out.p)
    yield f"FPR       separation p_max, any cell, {size}", _any(out.p_max)
    yield f"control   separation p, any cell, {size}", _any(out.p)
    for gap in (2.0, 6.0):
        you, user = true_separation((gap, gap / 2))
        conditions = {
            "you": population.activations(rng, sides, gap),
            "user": population.activations(rng, sides, gap / 2),
        }
        out = separation(synthetic.acts(conditions, names), n_permutations=9, n_bootstrap=499)
        yield f"coverage  separation S = {you.mean():.2f}, {size}", holds(out, you)
        yield f"coverage  separation bound = {(you - user).mean():.2f}, {size}", holds(out, you - user, "bound_")


def of_uneven_separation(rng: Rng, first: int, second: int) -> Iterator[Row]:
    """No distance, but the personas of the first side differ three times as much as the second's."""
    names, sides, _ = sided(first, second)
    spread = np.where(sides == 0, 1.5, 0.5)[:, None, None, None, None]
    centre = 10 * np.random.default_rng(7).normal(
        0, 1, (2, 3, population.D)
    )  # or bringing all to one length shifts one
    own = spread * rng.normal(size=(len(sides), 1, 2, 3, population.D)) * np.linspace(0.2, 1.8, population.D)
    x = centre + own + rng.normal(0, 0.5, (len(sides), population.PARAPHRASES, 2, 3, population.D))
    out = separation(synthetic.acts({"you": x, "user": x}, names), n_bootstrap=20)
    yield f"FPR       separation p, per cell, {first} of thrice the SD v {second}", called(out.p)


def of_transfer(rng: Rng, n: int, crossed: bool) -> Iterator[Row]:
    """T of pairs that share no persona, or of everyone with everyone."""
    pairs = [(f"ai{i}", f"human{j}") for i in range(n) for j in range(n) if crossed or i == j]
    alone = [(f"ai{i}", f"human{i}") for i in range(len(pairs))]  # as if no pair shared a persona
    design = f"{n} x {n} crossed" if crossed else f"{n} pairs"
    for truth in (0.0, 0.4):
        data = population.paired(rng, pairs, truth)
        out = transfer(data, n_bootstrap=999, n_flips=999)
        if truth == 0 and out.attrs["smallest_p"] < ALPHA:
            yield f"FPR       transfer p, {design}", called(out.p)
        yield f"coverage  transfer T = {truth}, {design}", holds(out, truth)
        if truth == 0 and crossed:
            wrong = data.assign_coords(
                {k: ("pair", list(v)) for k, v in zip(("source", "target"), zip(*alone, strict=True), strict=True)}
            )
            out = transfer(wrong, n_bootstrap=20, n_flips=999)
            yield f"control   transfer p, {design}, as if no pair shared one", called(out.p)


def of_axis(rng: Rng, n: int) -> Iterator[Row]:
    """λ among n roles: the default one of them, all of them the same, and a default that stands apart."""
    one_of_many, _ = population.cast(rng, n, 0.0)
    out = default_axis(one_of_many, n_bootstrap=10)
    if out.attrs["smallest_p"] < ALPHA:
        yield f"FPR       axis p, the default one of {n + 1} roles", called(out.p)
    yield f"control   axis p_random, read so, {n} roles", called(out.p_random)
    nobody, _ = population.cast(rng, n, 0.0, persona=0.0)
    out = default_axis(nobody, n_bootstrap=10)
    yield f"FPR       axis p_random, no persona differs, {n} roles", called(out.p_random)
    for gap in (4.0, 8.0):
        acts, truth = population.cast(rng, n, gap)
        out = default_axis(acts, n_axes=300, n_bootstrap=299).squeeze()
        roles = out.sel(who=[who for who in truth if who.startswith("role")])
        yield (
            f"coverage  axis lambda of roles, {n} of them, gap {gap:.0f}",
            holds(roles, np.array([truth[w] for w in roles.who.values])),
        )
        yield (
            f"coverage  axis lambda of neutral, {n} roles, gap {gap:.0f}",
            holds(out.sel(who="neutral"), truth["neutral"]),
        )


def of_probe(rng: Rng, n: int) -> Iterator[Row]:
    """The accuracy of a probe on personas that were left out, and its interval."""
    names, sides, size = sided(n)
    dealt = rng.permutation(sides)
    null = population.activations(rng, dealt, 6.0)
    out = probe(synthetic.acts({"you": null}, names), n_controls=2)
    yield f"FPR       probe p, per cell, {size}", called(out.p)
    for gap in (1.5, 3.0):
        x = population.activations(rng, sides, gap)
        out = probe(synthetic.acts({"you": x}, names), n_controls=2, n_permutations=9)
        truth = _expected_accuracy(gap, n)
        yield f"coverage  probe accuracy of {truth.mean():.2f}, {size}", holds(out, truth)


@cache
def _expected_accuracy(gap: float, n: int) -> Array:
    """[site, layer, place] the mean accuracy over many studies."""
    rng = np.random.default_rng(14)
    names, sides, _ = sided(n)
    runs = []
    for _ in range(100):
        acts = synthetic.acts({"you": population.activations(rng, sides, gap)}, names)
        runs.append(probe(acts, n_permutations=1, n_controls=2).estimate.to_numpy())
    return np.mean(runs, axis=0)


def of_clusters(rng: Rng, n: int) -> Iterator[Row]:
    """Patches of a map of 6 × 8 cells in which neighbours go together."""
    _, sides, size = sided(n)
    labels = permutation.labelings(sides == 0, 999, rng)
    weights = np.where(labels, 1 / labels.sum(1, keepdims=True), -1 / (~labels).sum(1, keepdims=True))
    table = ndimage.gaussian_filter(rng.normal(size=(6, 8, len(sides))), (1.5, 1.5, 0))
    found = cluster_mass(table, weights, absolute=True)
    yield f"FPR       cluster p, any patch, {size}", np.array([float((found.p < ALPHA).any())])
    cells = permutation.permutation_test(table.reshape(48, -1), weights, absolute=True)
    yield f"control   uncorrected p, any cell, {size}", np.array([float((cells.p < ALPHA).any())])


def of_selection(rng: Rng, n: int) -> Iterator[Row]:
    """The best of six cells, chosen on half of the personas and tested on the other half."""
    names, sides, size = sided(n)
    null = synthetic.acts(
        dict.fromkeys(("you", "user"), population.activations(rng, rng.permutation(sides), 6.0)), names
    )
    quick = partial(separation, n_bootstrap=20)
    yield f"FPR       selected cell p, {size}", called(select_and_test(null, quick).p)
    yield f"control   smallest p of the cells, not halved, {size}", called(quick(null).p.min())
    for gap in (2.0, 6.0):
        truth, _ = true_separation((gap, gap / 2))
        conditions = {
            "you": population.activations(rng, sides, gap),
            "user": population.activations(rng, sides, gap / 2),
        }
        out = select_and_test(synthetic.acts(conditions, names), partial(separation, n_permutations=9, n_bootstrap=499))
        yield (
            f"coverage  S at the selected cell, S = {truth.mean():.2f}, {size}",
            holds(out, truth[int(out.layer), int(out.position) + 3]),
        )


def _any(p: Array) -> Array:
    return np.array([float((np.asarray(p) < ALPHA).any())])
