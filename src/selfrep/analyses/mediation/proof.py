"""Whether a subspace carries what its name says: shown by exchange, under a question that asks for just that.

A pure case of M, mimicry or motive alone, leaves one subspace idle, and so does one that was fitted badly. This tells
them apart.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from selfrep.analyses.mediation.estimate import LEAST_MEDIATED
from selfrep.errors import SelfrepError
from selfrep.stats import gates, resampling
from selfrep.stats.rounding import negligible


def carrying(proofs: xr.Dataset) -> tuple[str, ...]:
    """Which subspaces carry their variable, by exchanges on questions that ask for it: the `proven` of `mediation`.

    A subspace does if the variable moves the answers at all (by three standard errors over pairs), and the exchange
    moves them at least 0.3 of that way, and further than the 95th percentile of random subspaces of the same rank.

    Args:
        proofs: from `proof_runs`: `log_odds` (mediator, draw, pair, run), nats: in the run where the variable is
            "absent", where it is "present", and where it is absent but the subspace holds what it holds where it is
            present ("exchanged"). Draw −1 is the fitted subspace; 0, 1, … are random ones, at least 19. Pairs may be
            NaN.

    Returns:
        The names of the mediators that do, of "P" and "S".

    Raises:
        SelfrepError: fewer than 19 random draws.

    Example:
        >>> log_odds = np.zeros((1, 20, 4, 3))  # 4 pairs, in 3 runs
        >>> log_odds[..., 1] = 3.0  # the variable moves the answer by 3 nats,
        >>> log_odds[:, 0, :, 2] = 2.9  # the exchange of the fitted subspace by 2.9, that of random ones by 0
        >>> coords = {"mediator": ["P"], "draw": range(-1, 19), "run": ["absent", "present", "exchanged"]}
        >>> carrying(xr.Dataset({"log_odds": (("mediator", "draw", "pair", "run"), log_odds)}, coords=coords))
        ('P',)
    """
    n_random = int((proofs.draw >= 0).sum())
    if 1 / (n_random + 1) > resampling.ALPHA:
        raise SelfrepError(
            f"What a subspace carries is compared with at least 19 random ones; got {n_random}. The smallest p they "
            f"could give is {1 / (n_random + 1):.3g}."
        )
    shown = []
    for mediator in proofs.mediator.values:
        odds = proofs.log_odds.sel(mediator=mediator).dropna("pair")
        n = odds.sizes["pair"]
        if n < 2:
            continue
        total = (odds.sel(run="present") - odds.sel(run="absent")).isel(draw=0).to_numpy()
        if negligible(total.mean(), float(np.abs(odds).max())):
            continue
        if not abs(total.mean()) >= gates.GATE * total.std(ddof=1) / np.sqrt(n):
            continue
        effect = (odds.sel(run="exchanged") - odds.sel(run="absent")).mean("pair") / total.mean()
        random = np.abs(effect.sel(draw=effect.draw[effect.draw >= 0]).to_numpy())
        if float(effect.sel(draw=-1)) >= max(LEAST_MEDIATED, float(np.quantile(random, 1 - resampling.ALPHA))):
            shown.append(str(mediator))
    return tuple(shown)
