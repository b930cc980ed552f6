"""What bench_statistics.py scores: whether a test called, whether an interval held, whether a control failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import synthetic
import xarray as xr

from selfrep.stats import permutation, resampling

Array = np.ndarray
Rng = np.random.Generator
Row = tuple[str, Array]
"""What is scored, and whether (0 or 1) it was so in one study. Cells count together, for they share their personas."""
Study = Callable[[Rng], Iterator[Row]]
"""Draws one study after the other, reads it, and scores it."""


def sided(first: int, second: int | None = None) -> tuple[list[str], Array, str]:
    """Names of personas, the side (0 or 1) of each, and "5 v 5"."""
    sizes = (first, first if second is None else second)
    return synthetic.names(sizes), np.repeat([0, 1], sizes), f"{sizes[0]} v {sizes[1]}"


def called(p: xr.DataArray | Array | float) -> Array:
    """Whether the test calls it; a p that is missing (not identified) does not count."""
    values = np.asarray(p, dtype=float).ravel()
    return (values[np.isfinite(values)] < resampling.ALPHA).astype(float)


def holds(out: xr.Dataset, truth: Array | float, prefix: str = "") -> Array:
    """Whether the interval from `{prefix}ci_low` to `{prefix}ci_high` holds the truth; missing ones do not count."""
    low, high, truth = np.broadcast_arrays(out[f"{prefix}ci_low"], out[f"{prefix}ci_high"], truth)
    known = np.isfinite(low) & np.isfinite(high)
    return ((low <= truth) & (truth <= high))[known].astype(float)


def permuted(values: Array, sides: Array, rng: Rng) -> Array:
    """The pseudo-replicated test of a difference: labels of prompts permuted, as if paraphrases of one persona were
    strangers. `values` [persona, paraphrase]."""
    labels = np.repeat(sides == 0, values.shape[1])
    dealt = np.vstack([labels, [rng.permutation(labels) for _ in range(999)]])
    return _called(values, np.where(dealt, 1 / labels.sum(), -1 / (~labels).sum()))


def flipped(values: Array, rng: Rng) -> Array:
    """The same of a mean: signs of prompts flipped. `values` [unit, paraphrase]."""
    return _called(values, np.vstack([np.ones(values.size), rng.choice([-1.0, 1.0], (999, values.size))]))


def _called(values: Array, weights: Array) -> Array:
    return called(permutation.permutation_test(values.reshape(1, -1), weights, absolute=True).p)


def tally(rows: Iterable[Row], score: dict[str, list[float]]) -> None:
    """One study more in every row that it has something to say about."""
    for name, outcomes in rows:
        if np.size(outcomes):
            score.setdefault(name, []).append(float(np.mean(outcomes)))
