"""How sure a number is: the bootstrap and the noise of paraphrases, on plain numpy arrays.

The unit is the persona. Prompts of one persona share its luck, so every function here takes the unit of each row.
Counting prompts instead (pseudo-replication) makes almost any map significant.

Every statistic of this toolkit is *linear* in a table computed once per cell (persona means, or the entries of a Gram
matrix). A bootstrap draw is then a row of weights, and ten thousand of them over a whole map are one matrix product:
`table @ weights.T`.
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
    """How often each unit is drawn, `n_units` with replacement.

    Args:
        n_units, n_draws: how many units, and how many times all of them are drawn anew.
        rng: of the draws.
        distinct: draws with fewer different units are drawn again.

    Returns:
        [draw, unit] counts that sum to `n_units`.

    Source: Efron 1979.

    Example:
        >>> counts = resample(5, 1000, np.random.default_rng(0), distinct=2)
        >>> counts.shape, set(counts.sum(axis=1).tolist())
        ((1000, 5), {5})
    """
    share = np.full(n_units, 1 / n_units)
    counts = rng.multinomial(n_units, share, n_draws)
    while len(poor := np.flatnonzero((counts > 0).sum(axis=1) < distinct)):
        counts[poor] = rng.multinomial(n_units, share, len(poor))
    return counts


def counted(share: float, n: int, alpha: float = ALPHA) -> tuple[float, float]:
    """The interval of a share of n independent units, each of which is one thing or the other, or partly both.

    A bootstrap would draw units that all agree, and tell that every unit there is does.

    Args:
        share: 0 … 1, the mean over the units; n: how many.
        alpha: how often the truth may lie outside.

    Source: Clopper & Pearson 1934.

    Example:
        >>> low, high = counted(1.0, 9)
        >>> round(low, 2), high
        (0.66, 1.0)
    """
    k = share * n
    low = 0.0 if negligible(share, 1.0) else scipy_stats.beta.ppf(alpha / 2, k, n - k + 1)
    high = 1.0 if negligible(1 - share, 1.0) else scipy_stats.beta.ppf(1 - alpha / 2, k + 1, n - k)
    return float(low), float(high)


def resample_within(
    unit: Int[Array, " row"], n_draws: int, rng: np.random.Generator, *, rescaled: bool = False
) -> Float[Array, "draw row"]:
    """Row weights after drawing each unit's rows anew with replacement; the weights of a unit's rows sum to 1.

    The mean of m rows drawn so varies by (m − 1)/m of what it should: half, for two. One row is always itself.

    Args:
        unit: [row] the unit of each row.
        n_draws: how many times.
        rng: of the draws.
        rescaled: make up for the missing variance, where rows are all that varies; weights may then be negative.

    Returns:
        [draw, row] weights.

    Source: Rao & Wu 1988, for `rescaled`.

    Example:
        >>> weights = resample_within(np.array([0, 0, 1]), 100, np.random.default_rng(0))
        >>> bool(np.allclose(weights[:, :2].sum(axis=1), 1)), bool((weights[:, 2] == 1).all())
        (True, True)
    """
    weights = np.zeros((n_draws, len(unit)))
    for name in np.unique(unit):
        rows = np.flatnonzero(unit == name)
        m = len(rows)
        share = rng.multinomial(m, np.full(m, 1 / m), n_draws) / m
        weights[:, rows] = 1 / m + (share - 1 / m) * np.sqrt(m / (m - 1)) if rescaled and m > 1 else share
    return weights


def resample_nested(
    unit: Int[Array, " row"], contrast: Float[Array, " unit"], n_draws: int, rng: np.random.Generator
) -> Float[Array, "draw row"]:
    """Row weights of a contrast between units: units drawn anew, then each unit's rows (the hierarchical bootstrap).

    Args:
        unit: [row] the number of each row's unit.
        contrast: [unit] the weight of each unit; those of equal weight are one group, and are drawn among themselves.
        n_draws: how many times.
        rng: of the draws.

    Returns:
        [draw, row] weights: `weights @ values` is the contrast in every draw.

    Example:
        Two units a side, with two rows each:

        >>> unit = np.repeat(np.arange(4), 2)
        >>> weights = resample_nested(unit, np.array([0.5, 0.5, -0.5, -0.5]), 1000, np.random.default_rng(0))
        >>> weights.shape, round(float((weights @ np.where(unit < 2, 3.0, 1.0)).mean()), 6)
        ((1000, 8), 2.0)
    """
    weight = np.zeros((n_draws, len(contrast)))
    for value in sorted(set(contrast[contrast != 0].tolist()), reverse=True):
        members = np.flatnonzero(contrast == value)
        weight[:, members] = value * resample(len(members), n_draws, rng)
    return resample_within(unit, n_draws, rng) * weight[:, unit]


def tail(n_units: int, df: float | int) -> float:
    """The bootstrap tail that bounds 95 % in small samples: the expanded percentile interval.

    A plain percentile interval of n units is too short by sqrt((n − 1)/n) and uses normal instead of t quantiles; with
    8 personas a side it covers about 92 %. Moving the two percentiles outwards repairs both.

    Args:
        n_units: of the smallest group that is resampled.
        df: degrees of freedom of Student's t.

    Returns:
        The share of draws beyond either bound.

    Raises:
        SelfrepError: fewer than two units.

    Source: Hesterberg 2015.

    Example:
        >>> round(tail(8, 7), 4), round(tail(1000, 999), 4)
        (0.0057, 0.0248)
    """
    if n_units < 2 or df < 1:
        raise SelfrepError(f"A bootstrap interval needs at least two units to resample; got {n_units}.")
    z = np.sqrt(n_units / (n_units - 1)) * scipy_stats.t.ppf(1 - ALPHA / 2, df)
    return float(scipy_stats.norm.cdf(-z))


def interval(draws: Float[Array, "*cells draw"], tail: float) -> tuple[Float[Array, "*cells"], Float[Array, "*cells"]]:
    """The two bounds of each cell's bootstrap draws; a cell whose draws are not all finite has none (NaN).

    Args:
        draws: [..., draw].
        tail: the share of draws beyond either bound, from `tail`.

    Returns:
        (low, high), each [...].

    Example:
        >>> low, high = interval(np.linspace(0.0, 1.0, 101), 0.025)
        >>> round(float(low), 3), round(float(high), 3)
        (0.025, 0.975)
    """
    finite = np.isfinite(draws).all(axis=-1)
    low, high = np.quantile(np.where(finite[..., None], draws, 0.0), [tail, 1 - tail], axis=-1)
    return np.where(finite, low, np.nan), np.where(finite, high, np.nan)


def spread_interval(
    estimate: Float[Array, "*cells"], draws: Float[Array, "*cells draw"], n_units: int
) -> tuple[Float[Array, "*cells"], Float[Array, "*cells"]]:
    """95 % bounds from the spread of bootstrap draws and Student's t: for so few units that percentiles run out.

    Args:
        estimate: [...].
        draws: [..., draw].
        n_units: that were resampled.

    Returns:
        (low, high), each [...].

    Raises:
        SelfrepError: fewer than two units.

    Example:
        >>> low, high = spread_interval(np.array(1.0), np.array([0.5, 1.5]), n_units=5)  # 1 ± 2.776 · √(5/4) · 0.5
        >>> round(float(low), 2), round(float(high), 2)
        (-0.55, 2.55)
    """
    if n_units < 2:
        raise SelfrepError(f"A bootstrap interval needs at least two units to resample; got {n_units}.")
    half = scipy_stats.t.ppf(1 - ALPHA / 2, n_units - 1) * np.sqrt(n_units / (n_units - 1)) * draws.std(axis=-1)
    return np.asarray(estimate - half), np.asarray(estimate + half)


# Small pieces


def within_sd(values: Float[Array, row * rest], unit: Int[Array, " row"]) -> Float[Array, "*rest"]:
    """The pooled standard deviation of rows within their unit: how much a mere paraphrase moves the value.

    Args:
        values: [row, ...].
        unit: [row] the unit of each row.

    Returns:
        [...], in the unit of the values.

    Raises:
        SelfrepError: no unit has two rows.

    Example:
        >>> round(float(within_sd(np.array([1.0, 3.0, 10.0, 12.0]), np.array([0, 0, 1, 1]))), 3)  # √2
        1.414
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
    """The chance that a unit of the first group exceeds one of the second (ties count half).

    Args:
        first: [a, ...].
        second: [b, ...].

    Returns:
        [...], 0 … 1. Values that are equal but for rounding tie.

    Source: Mann & Whitney 1947.

    Example:
        >>> float(auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])))  # 3 of the 4 pairs, and half of the tie
        0.875
    """
    a, b = first[:, None], second[None, :]
    tie = negligible(a - b, np.maximum(np.abs(a), np.abs(b)))
    return np.asarray(np.where(tie, 0.5, a > b).mean(axis=(0, 1)))
