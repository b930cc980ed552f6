"""What bench_statistics.py scores: whether a test called, whether an interval held, whether a control failed.

A part draws many studies at once where it can: items, cells or forms that have nothing to do with each other. What is
scored is an array whose first axis is the study; NaN where there was nothing to score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr

from selfrep.stats import permutation, resampling

Array = np.ndarray
Rng = np.random.Generator
Row = tuple[str, Array]
"""What is scored, and whether (0 or 1) it was so: [study, ...]. What is of one study counts together."""
Part = Callable[[Rng, Any, int], Iterator[Row]]
"""Draws so many studies of a design, reads and scores them."""


def called(p: xr.DataArray | Array | float) -> Array:
    """Whether the test calls it; a p that is missing (not identified) does not count."""
    values = np.asarray(p, dtype=float)
    return np.where(np.isfinite(values), values < resampling.ALPHA, np.nan)


def anywhere(p: xr.DataArray | Array) -> Array:
    """Whether the test calls any cell of a map, which is of one study."""
    return called(np.asarray(p, dtype=float).min())


def holds(out: xr.Dataset, truth: Array | float, prefix: str = "") -> Array:
    """Whether the interval from `{prefix}ci_low` to `{prefix}ci_high` holds the truth; missing ones do not count."""
    low, high, truth = np.broadcast_arrays(out[f"{prefix}ci_low"], out[f"{prefix}ci_high"], truth)
    return np.where(np.isfinite(low) & np.isfinite(high), (low <= truth) & (truth <= high), np.nan)


def permuted(values: Array, sides: Array, rng: Rng) -> Array:
    """The pseudo-replicated test of a difference: labels of prompts permuted, as if paraphrases of one persona were
    strangers. `values` [persona, paraphrase, study]."""
    labels = np.repeat(sides == 0, values.shape[1])
    dealt = np.vstack([labels, [rng.permutation(labels) for _ in range(999)]])
    return _called(values, np.where(dealt, 1 / labels.sum(), -1 / (~labels).sum()))


def flipped(values: Array, rng: Rng) -> Array:
    """The same of a mean: signs of prompts flipped. `values` [unit, paraphrase, study]."""
    n = values.shape[0] * values.shape[1]
    return _called(values, np.vstack([np.ones(n), rng.choice([-1.0, 1.0], (999, n))]))


def _called(values: Array, weights: Array) -> Array:
    table = values.reshape(-1, values.shape[2]).T
    return called(permutation.permutation_test(table, weights, absolute=True).p)


def one_by_one(study: Callable[[Rng, Any], Iterator[Row]]) -> Part:
    """A part whose studies are read one after the other."""

    def part(rng: Rng, design: Any, n: int) -> Iterator[Row]:
        rows: dict[str, list[Array]] = {}
        for _ in range(n):
            for name, outcomes in study(rng, design):
                rows.setdefault(name, []).append(of_study(np.asarray(outcomes)[None])[0])
        yield from ((name, np.array(outcomes)) for name, outcomes in rows.items())

    return part


def of_study(outcomes: Array) -> Array:
    """[study] the mean over what is of one study; NaN where there is nothing."""
    flat = outcomes.reshape(len(outcomes), -1)
    known = np.isfinite(flat)
    total = np.where(known, flat, 0.0).sum(axis=1)
    return np.divide(total, known.sum(axis=1), out=np.full(len(flat), np.nan), where=known.any(axis=1))
