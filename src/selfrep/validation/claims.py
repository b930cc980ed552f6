"""What must not be claimed: use where nothing is used, use of a cell for what one of its subspaces does, and absence
where the means of two sides coincide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from selfrep.analyses.organisms import activations, scores
from selfrep.analyses.separation.estimate import separation
from selfrep.analyses.transfer.estimate import transfer
from selfrep.engine.interventions import InSubspace
from selfrep.engine.patch import patch
from selfrep.engine.plan import grid
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth, roles
from selfrep.stats.gates import LEAST_EFFECT
from selfrep.validation.maps import QUESTIONS, pairs_of, size


@dataclass(frozen=True)
class Abstention:
    """An item on which nothing of the persona is used, nor moves the answer, and what T says of it: it should abstain.

    Attributes:
        identified: whether some pair of prompts passed the gate.
        largest: |T| is surely at least this somewhere: the bound of an interval; 0 where nothing is sure.
    """

    item: str
    identified: bool
    largest: float


def abstentions(lm: LanguageModel, truth: Truth) -> Iterator[Abstention]:
    """Where a persona moves no answer there is nothing to transfer: whether T says so, item by item.

    Noise can open a way from a persona to an answer that was not planted. What then moves it by as much as may be
    divided into shares is there to be found, and such an item is not asked.
    """
    for item, question in QUESTIONS.items():
        if truth.causal.get(("persona", question), True) or abs(truth.moved(question)) >= LEAST_EFFECT:
            continue
        effects = patch(lm, pairs_of(lm, item), grid("resid_pre"))
        behaviour = scores(lm, [item], ("you",))
        shares = transfer(effects, scores=behaviour, n_bootstrap=200, n_flips=200)
        least = np.fmax(shares.ci_low, -shares.ci_high)  # |T| is at least this, where above 0; no interval, no claim
        identified = bool(shares.attrs["identified"])
        yield Abstention(item, identified, max(0.0, float(least.fillna(0.0).max())) if identified else 0.0)


def illusion(lm: LanguageModel, truth: Truth) -> tuple[float, float]:
    """The largest |T| at cells that have no part, but hold a subspace that moves the answer: the cell's, and its own.

    Patching a subspace alone gives the second, and calls the cell causal (Makelov et al. 2023).
    """
    pairs = pairs_of(lm, "who_are_you")
    ids = pairs[0].source.ids
    width = int(patch(lm, pairs[:1], grid("resid_pre", layers=[0])).position.size)
    sizes = []
    for (layer, role), rows in truth.illusions.items():
        (token,) = [t for t, name in enumerate(roles(ids)) if name == role]
        at = token - len(ids)
        if -at > width:
            continue
        inside = InSubspace(torch.from_numpy(np.ascontiguousarray(rows.T, dtype=np.float32)))
        cell = partial(grid, "resid_pre", layers=[layer], positions=[at])
        sizes.append([float(size(patch(lm, pairs, plan)).max()) for plan in (cell(), cell(intervention=inside))])
    whole, part = np.max(sizes, axis=0).tolist()
    return whole, part


def hidden(lm: LanguageModel, truth: Truth) -> tuple[float, float]:
    """The largest S and the mean identity separation, where a persona is there and the sides have one mean.

    S ≤ 0 is no absence: two personas, each against each, are told apart. Their mean over the cells is judged, since the
    few words of an organism leave each cell its luck.
    """
    acts = activations(lm, "who_are_you", ("you", "user"))
    found = separation(acts, n_permutations=20, n_bootstrap=20).isel(site=0)
    ids = pairs_of(lm, "who_are_you")[0].source.ids
    names = roles(ids)
    at = [
        {"layer": layer, "position": position}
        for layer in found.layer.to_numpy().tolist()
        for position in found.position.to_numpy().tolist()
        if (layer, names[position]) in truth.hidden
    ]
    sides, people = ([float(found[name].sel(cell)) for cell in at] for name in ("estimate", "identity"))
    return max(sides), float(np.mean(people))
