"""Whether I falls from one referent to the next: how wide the circle is that the model takes itself to be.

This chat, another chat, an earlier version, another vendor's model, the user: each is asked about by a subscale of its
own, and a slope over their order says more than any one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np
import xarray as xr
from scipy import stats as scipy_stats

from selfrep.errors import SelfrepError
from selfrep.stats import permutation, resampling
from selfrep.stats.families import FEWEST, averages


def referent_gradient(
    identities: xr.Dataset, referents: Sequence[str], *, limit: int = 50_000, seed: int = 0
) -> xr.Dataset:
    """Whether I falls from one referent to the next: how wide the circle is that the model takes itself to be.

    A line is fitted to I over the rank of the referents, for each persona. p comes from putting the referents in all
    other orders. The personas of a family count as one.

    Args:
        identities: from `identification`; a persona without a `family` is one by itself.
        referents: subscales from the nearest on, e.g. this chat, another chat, an earlier version, another vendor's
            model, the user; at least four, whose 24 orders can reach p = .042.
        limit: the most orders to try; random ones where there are more.
        seed: of random orders.

    Returns:
        Dataset. All numbers are NaN where I is not identified for one of the referents.

        * `estimate` (persona): the slope, paraphrase SDs a step; negative: I falls.
        * `mean`: the mean slope over families of personas.
        * `ci_low`, `ci_high`: 95 % of the mean slope, by Student's t: over families, and what they share (`shared_se`);
          NaN with fewer than four families.
        * `p`: of the mean slope, two-sided; the referents are put in all orders, the same for all personas.
        * `null`: the 95th percentile of |mean slope| under these orders.
        * `identified`: whether I is identified for every referent, and there are families enough.
        * `reason`: why not, where not; "" otherwise.

    Raises:
        SelfrepError: fewer than four referents, the same one twice, or unknown ones.

    Source: least squares; permutation of the referents (Page's trend test with sizes in place of ranks).

    Example:
        >>> referents = ["this chat", "another chat", "an earlier version", "the user"]
        >>> identities = xr.Dataset(
        ...     {
        ...         "estimate": (("subscale", "persona"), np.array([[6.0, 7.0], [4.0, 5.0], [2.0, 3.0], [0.0, 1.0]])),
        ...         "shared_se": ("subscale", np.full(4, 0.5)),
        ...         "identified": ("subscale", np.full(4, True)),
        ...     },
        ...     coords={"subscale": referents, "persona": ["assistant", "chatbot"]},
        ... )
        >>> slope = referent_gradient(identities, referents)
        >>> float(slope["mean"]), round(float(slope.p), 3)  # this order or the reverse, of 24
        (-2.0, 0.083)
    """
    known = identities.subscale.values.tolist()
    if unknown := [name for name in referents if name not in known]:
        raise SelfrepError(f"Referents are subscales that were measured, {known}; unknown: {unknown}.")
    n = len(set(referents))
    if n != len(referents) or 1 / factorial(n) > resampling.ALPHA:
        raise SelfrepError(
            f"The order of referents is permuted, so they must be different and at least four; got {list(referents)}, "
            f"whose smallest p is {1 / factorial(n):.3g}."
        )
    mine = identities.sel(subscale=list(referents))
    pool = averages(np.unique(mine.get("family", mine.persona).to_numpy(), return_inverse=True)[1])
    values = mine.estimate.transpose("persona", "subscale").to_numpy()
    attrs = {"permuted": "the order of the referents", "referents": list(referents), "seed": seed}
    if not bool(mine.identified.all()):
        unread = mine.subscale.values[~mine.identified.to_numpy()].tolist()
        return xr.Dataset(
            {"estimate": ("persona", np.full(len(values), np.nan))}
            | dict.fromkeys(("mean", "ci_low", "ci_high", "p", "null"), np.nan)
            | {"identified": False, "reason": f"I is not identified for {', '.join(unread)}"},
            coords={"persona": mine.persona},
            attrs=attrs | {"n_labelings": 0, "smallest_p": 1.0, "n_families": len(pool)},
        )
    steps = np.arange(n) - (n - 1) / 2
    orders = permutation.orders(n, limit, np.random.default_rng(seed))
    weights = steps[orders] / (steps**2).sum()
    slopes = values @ weights[0]
    of_families, n_families = pool @ slopes, len(pool)
    mean, half, reason = float(of_families.mean()), np.nan, ""
    means, size = (pool @ values).mean(axis=0), float(np.abs(values).max())
    test = permutation.permutation_test(means[None], weights, absolute=True, scale=size)
    if n_families < FEWEST:
        reason = f"an interval needs at least {FEWEST} families of personas; there are {n_families}"
    else:
        shared = ((weights[0] * mine.shared_se.to_numpy()) ** 2).sum()
        error = np.sqrt(of_families.var(ddof=1) / n_families + shared)
        half = float(scipy_stats.t.ppf(1 - resampling.ALPHA / 2, n_families - 1) * error)
    return xr.Dataset(
        {
            "estimate": ("persona", slopes),
            "mean": mean,
            "ci_low": mean - half,
            "ci_high": mean + half,
            "p": test.p[0],
            "null": test.null_high[0],
            "identified": not reason,
            "reason": reason,
        },
        coords={"persona": mine.persona},
        attrs=attrs | {"n_labelings": len(orders), "smallest_p": 1 / len(orders), "n_families": n_families},
    )
