"""The population, with known truth, from which bench_statistics.py draws runs for M: held-out texts, from which the
subspaces are fitted, and scenarios, between whose runs they are exchanged.

The residual stream holds the fiction along one direction and the own motives along another. Texts have them or not,
and differ otherwise as they like, so that what is fitted to a few of them misses some of either direction: by how much,
only other texts would tell.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from bench_populations import PARAPHRASE_SD, PARAPHRASES

from selfrep.analyses.mediation.estimate import PATCHED
from selfrep.analyses.mediation.fitting import Subspaces, fit_to_means
from selfrep.prompts.subspaces import Contrast, Probe, SubspaceMaterial, SubspaceName

Array = np.ndarray
Rng = np.random.Generator

D = 48
N_RANDOM = 39
TEXT_SD = 0.1
"""Per dimension, of a distance of 1 between kinds: what is fitted lies about 13 degrees off (8 texts a kind)."""
_TEXTS = {kind: tuple(f"{kind} {i}" for i in range(8)) for kind in ("of", "one", "two", "three")}
_CONTRAST = Contrast(of=_TEXTS["of"], against={kind: _TEXTS[kind] for kind in ("one", "two", "three")})
_PROBE = Probe(question="What are you?")
MATERIALS: dict[SubspaceName, SubspaceMaterial] = {
    name: SubspaceMaterial(rank=1, probes=(_PROBE,), contrasts={"kinds": _CONTRAST}) for name in ("P", "S")
}


def fitted(rng: Rng) -> Subspaces:
    """What a study fits to texts of its own, where dimension 0 is the fiction and 1 the motives."""
    means = {
        name: {
            text: TEXT_SD * rng.normal(size=D) + (kind == "of") * np.eye(D)[axis]
            for kind, texts in _TEXTS.items()
            for text in texts
        }
        for axis, name in enumerate(MATERIALS)
    }
    return fit_to_means(MATERIALS, means, layer=0, seed=int(rng.integers(2**31)))


def exchanged(rng: Rng, n: int, fiction: float, motive: float, spread: float) -> xr.Dataset:
    """The cue moves n scenarios by `fiction` nats through P and the stakes by `motive` through S, each scenario by
    `spread` nats more or less."""
    found = fitted(rng)
    subspaces = {-1: found}
    subspaces |= dict(enumerate(found.random(N_RANDOM, int(rng.integers(2**31)))))
    subspaces |= {-2 - k: refit for k, refit in enumerate(found.refits)}
    readout = np.array([fiction, motive, *np.zeros(D - 2)])
    own = [1 + (spread / size if size else 0) * rng.normal(size=n) for size in (fiction, motive)]
    apart = np.stack([own[0], own[1], *np.zeros((D - 2, n))], axis=1)  # [scenario, d] with cue and stakes, less without
    quiet = rng.normal(0, PARAPHRASE_SD, (n, PARAPHRASES, 2, 2))
    odds = np.empty((len(subspaces), n, PARAPHRASES, 2, 2, len(PATCHED)))
    for row, one in enumerate(subspaces.values()):
        for j, patched in enumerate(PATCHED):
            basis = one.exchanged()["P first", patched] if patched != "none" else np.zeros((D, 0))
            for cue, stakes in np.ndindex(2, 2):
                here = apart * [cue, stakes, *np.zeros(D - 2)]
                donor = apart * [1 - cue, 1 - stakes, *np.zeros(D - 2)]
                state = here + (donor - here) @ basis @ basis.T
                odds[row, ..., cue, stakes, j] = (state @ readout)[:, None] + quiet[..., cue, stakes]
    odds += rng.normal(0, PARAPHRASE_SD / 8, odds.shape[1:])
    dims = ("draw", "scenario", "paraphrase", "cue", "stakes", "patched")
    coords = {"draw": list(subspaces), "cue": [0, 1], "stakes": [0, 1], "patched": list(PATCHED)}
    return xr.Dataset({"log_odds": (dims, odds)}, coords=coords)


def given(runs: xr.Dataset) -> xr.Dataset:
    """The same runs, as if the subspaces were known and not fitted: what must go wrong."""
    return runs.sel(draw=runs.draw >= -1)
