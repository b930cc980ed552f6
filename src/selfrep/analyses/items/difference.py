"""How much further one run moves the answers to some items than another run of the same personas.

The same personas, in the same paraphrases, were asked the same items, so their answers are compared pair by pair: a
bootstrap draw takes the same families, personas and paraphrases of both runs, and a labeling changes both alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from selfrep.analyses.report import Difference
from selfrep.stats.contrasts import Contrast
from selfrep.stats.tables import Table
from selfrep.store.run_directory import RunDirectory


def differences(first: RunDirectory, second: RunDirectory) -> Iterator[Difference]:
    """The first run's shifts less those of the second, of the rows that both have of the same items."""
    runs = (first, second)
    if not all(run.has("items") and run.has("behaviour") for run in runs):
        return
    one, other = (run.read("items") for run in runs)
    members, others = (estimate.attrs.get("members", {}) for estimate in (one, other))
    if one.attrs["sides"] != other.attrs["sides"]:
        return
    for name in members:
        if members[name] == others.get(name) and name in one.item and name in other.item:
            ours, theirs = (run.read("behaviour") for run in runs)
            if made := shift_difference(ours, theirs, members[name], one.attrs["sides"], int(one.attrs["seed"])):
                yield Difference(name, *made)


def shift_difference(
    first: xr.Dataset,
    second: xr.Dataset,
    items: Sequence[str],
    sides: Sequence[str],
    seed: int = 0,
    *,
    n_permutations: int = 10_000,
    n_bootstrap: int = 2000,
) -> tuple[float, float, float, float] | None:
    """The shift of the middle one of some items in one set of scores less that in another, pair by pair.

    Args:
        first, second: from `selfrep.score`, of the same personas in the same paraphrases.
        items: which items; of one, its own shift is compared.
        sides: the two sides, first less second; seed: of the draws.

    Returns:
        The difference (nats), its 95 % bounds, and p of none: families are drawn, and their sides permuted, in both
        alike. None where the two are not of the same personas and families, or where some answer has no log odds.

    Example:
        >>> from selfrep.models import organisms
        >>> import selfrep as sr
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(organisms.PERSONAS), sr.battery.load(organisms.BATTERY)
        >>> scores = sr.score(lm, sr.make_prompts(people, [battery["who_are_you"]], ["you"], [0, 1]))
        >>> half = scores.assign(log_odds=scores.log_odds / 2, unsaid_log_odds=scores.unsaid_log_odds / 2)
        >>> found = shift_difference(scores, half, ["who_are_you"], ["ai", "human"], n_bootstrap=200)
        >>> round(found[0], 2), found[1] < found[0] < found[2]
        (4.0, True)
    """
    pair = (str(sides[0]), str(sides[1]))
    one, other = (Table.of(_only(scores, items), "you", items, pair) for scores in (first, second))
    alike = one.keys == other.keys and one.family == other.family
    if not alike or not all(np.isfinite(table.log_odds).all() for table in (one, other)):
        return None
    contrast = Contrast.of(one.families(pair), n_permutations, n_bootstrap, np.random.default_rng(seed))
    rows = (one.log_odds, other.log_odds)
    shifts, drawn, permuted = (
        np.subtract(*(np.median(weights @ values, axis=-1) for values in of))
        for weights, of in (
            (contrast.families.contrast(), [contrast.means(values) for values in rows]),
            (contrast.draws, rows),
            (contrast.labelings, [contrast.means(values) for values in rows]),
        )
    )
    low, high = contrast.interval(np.subtract(*(values.mean(axis=1) for values in rows)), drawn)
    sizes = np.abs(permuted)
    p = np.nan if contrast.families.untestable() else float((sizes >= sizes[0] - 1e-9 * sizes.max()).mean())
    return float(shifts), low, high, p


def _only(scores: xr.Dataset, items: Sequence[str]) -> xr.Dataset:
    return scores.isel(prompt=np.flatnonzero(np.isin(scores.item.to_numpy(), list(items))))
