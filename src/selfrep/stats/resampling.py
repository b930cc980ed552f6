"""How sure a number is: resampling and permutation, on plain numpy arrays.

The unit is the persona. Prompts that share a persona share its luck, so every function here is told which unit a row
belongs to; counting prompts instead (pseudo-replication) makes almost any map significant.

Every statistic this toolkit tests is *linear* in a table computed once per cell (persona means, or the entries of a
Gram matrix). A permutation or a bootstrap draw is then a row of weights, and ten thousand of them over a whole map are
one matrix product: `table @ weights.T`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats.rounding import negligible

Array = np.ndarray
ALPHA = 0.05


def resample(n_units: int, n_draws: int, rng: np.random.Generator, *, distinct: int = 1) -> Int[Array, "draw unit"]:
    """How often each unit is drawn, `n_units` with replacement; draws with fewer than `distinct` units are redrawn."""
    share = np.full(n_units, 1 / n_units)
    counts = rng.multinomial(n_units, share, n_draws)
    while len(poor := np.flatnonzero((counts > 0).sum(axis=1) < distinct)):
        counts[poor] = rng.multinomial(n_units, share, len(poor))
    return counts


def resample_within(
    unit: Int[Array, " row"], n_draws: int, rng: np.random.Generator, *, rescaled: bool = False
) -> Float[Array, "draw row"]:
    """Row weights after drawing each unit's rows anew with replacement; the weights of a unit's rows sum to 1.

    The mean of m rows drawn so varies by (m − 1)/m of what it should: half, for two. Where rows are all that varies,
    `rescaled` makes up for it (Rao & Wu 1988); weights may then be negative. One row is always itself.
    """
    weights = np.zeros((n_draws, len(unit)))
    for name in np.unique(unit):
        rows = np.flatnonzero(unit == name)
        m = len(rows)
        drawn = rng.multinomial(m, np.full(m, 1 / m), n_draws) / m
        weights[:, rows] = 1 / m + (drawn - 1 / m) * np.sqrt(m / (m - 1)) if rescaled and m > 1 else drawn
    return weights


def resample_nested(
    unit: Int[Array, " row"], contrast: Float[Array, " unit"], n_draws: int, rng: np.random.Generator
) -> Float[Array, "draw row"]:
    """Row weights of a contrast between units: units drawn anew, then each unit's rows (the hierarchical bootstrap).

    `contrast` weighs the units; those of equal weight are one group, and are drawn among themselves.
    """
    weight = np.zeros((n_draws, len(contrast)))
    for value in sorted(set(contrast[contrast != 0].tolist()), reverse=True):
        members = np.flatnonzero(contrast == value)
        weight[:, members] = value * resample(len(members), n_draws, rng)
    return resample_within(unit, n_draws, rng) * weight[:, unit]


def tail(n_units: int, df: int) -> float:
    """The bootstrap tail that bounds 95 % in small samples: the expanded percentile interval (Hesterberg 2015).

    A plain percentile interval of n units is too short by sqrt((n − 1)/n) and uses normal instead of t quantiles; with
    8 personas a side it covers about 92 %. Moving the two percentiles outwards repairs both.
    """
    if n_units < 2 or df < 1:
        raise SelfrepError(f"A bootstrap interval needs at least two units to resample; got {n_units}.")
    z = np.sqrt(n_units / (n_units - 1)) * scipy_stats.t.ppf(1 - ALPHA / 2, df)
    return float(scipy_stats.norm.cdf(-z))


def interval(draws: Float[Array, "*cells draw"], tail: float) -> tuple[Float[Array, "*cells"], Float[Array, "*cells"]]:
    """The two bounds of each cell's bootstrap draws; a cell whose draws are not all finite has none (NaN)."""
    finite = np.isfinite(draws).all(axis=-1)
    low, high = np.quantile(np.where(finite[..., None], draws, 0.0), [tail, 1 - tail], axis=-1)
    return np.where(finite, low, np.nan), np.where(finite, high, np.nan)


def spread_interval(
    estimate: Float[Array, "*cells"], draws: Float[Array, "*cells draw"], n_units: int
) -> tuple[Float[Array, "*cells"], Float[Array, "*cells"]]:
    """95 % bounds from the spread of bootstrap draws and Student's t: for so few units that percentiles run out."""
    if n_units < 2:
        raise SelfrepError(f"A bootstrap interval needs at least two units to resample; got {n_units}.")
    half = scipy_stats.t.ppf(1 - ALPHA / 2, n_units - 1) * np.sqrt(n_units / (n_units - 1)) * draws.std(axis=-1)
    return np.asarray(estimate - half), np.asarray(estimate + half)


# Small pieces


def within_sd(values: Float[Array, row * rest], unit: Int[Array, " row"]) -> Float[Array, "*rest"]:
    """The pooled standard deviation of rows within their unit: how much a mere paraphrase moves the value.

    Raises SelfrepError when no unit has two rows.
    """
    names, counts = np.unique(unit, return_counts=True)
    df = len(unit) - len(names)
    if df == 0:
        raise SelfrepError(
            f"The paraphrase noise needs at least one persona with two paraphrases; got {len(names)} personas with "
            f"{counts.max() if len(counts) else 0} each. Use at least four paraphrases a persona."
        )
    squares = np.zeros(values.shape[1:])
    for name in names:
        rows = values[unit == name]
        squares = squares + ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)
    return np.asarray(np.sqrt(squares / df))


def auc(first: Float[Array, a * rest], second: Float[Array, b * rest]) -> Float[Array, "*rest"]:
    """The chance that a unit of the first group exceeds one of the second (ties count half)."""
    a, b = first[:, None], second[None, :]
    tie = negligible(a - b, np.maximum(np.abs(a), np.abs(b)))
    return np.asarray(np.where(tie, 0.5, a > b).mean(axis=(0, 1)))
