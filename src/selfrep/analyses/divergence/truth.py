"""Whether Δ tells where an organism has just read its persona from where it does not hold it, and claims nothing there.

Δ is taken from the default reading: its prompts have the words of the other personas around them. A text about nobody
has other words, which organisms gather at every token, so Δ from the unprompted self is rightly above 0 everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.answers import Answer, Estimand, Line
from selfrep.analyses.divergence.estimate import divergence
from selfrep.analyses.organisms import IN_CHARACTER, activations, battery, personas
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth
from selfrep.prompts.prompt import prompt
from selfrep.prompts.render import render
from selfrep.stats.resampling import auc

KIND = "human"
"""The largest kind, so that there is an interval."""
READ = 2
"""Up to this index the persona is read; later, words pile up beside it."""

DELTA = Estimand(
    "Δ",
    "Δ, cells apart",
    0.05,
    (
        Line(
            "AUROC of Δ, cells that have read the persona against the others", of="present", custom="distance of means"
        ),
        Line("Δ surely above 0, of the cells that do not hold it", of="absent", custom="distance of means"),
    ),
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """How well Δ of humans from the default tells cells that have just read the persona from those that do not hold it;
    and the share of these at which it is surely above 0, which should be none."""
    if "persona" not in truth.present or truth.hidden:  # some of whose humans lie where the default does
        return
    data = activations(lm, IN_CHARACTER[0], ("you", "neutral"))
    asked = prompt(personas()["nurse"], battery()[IN_CHARACTER[0]])
    ids = render(asked, lm.chat).ids
    there = truth.present_map(ids, "persona")[np.ix_(data.layer.to_numpy(), data.position.to_numpy())]
    early = data.layer.to_numpy()[:, None] <= READ
    found = divergence(data).isel(site=0).sel(reference="default", kind=KIND)
    plain, held = _distance_of_means(data), there & early
    ranks = [float(auc(values[held], values[~there])) for values in (found.kind_estimate.to_numpy(), plain)]
    yield Answer(DELTA, "present", 1.0, ranks[0], ranks[0], ranks[0], common=ranks[1])
    sure = float((found.kind_ci_low.to_numpy() > 0)[~there].mean())
    yield Answer(DELTA, "absent", 0.0, sure, sure, sure, common=float((plain > 0)[~there].mean()))


def _distance_of_means(data: xr.Dataset) -> np.ndarray:
    """[layer, position] the squared distance between the means of all prompts of humans and of the default."""
    x, condition = data.activations.to_numpy()[:, 0].astype(float), data.condition.to_numpy()
    own = x[(condition == "you") & (data.kind.to_numpy() == KIND)].mean(axis=0)
    return np.asarray(((own - x[data.reading.to_numpy() == "default"].mean(axis=0)) ** 2).sum(axis=-1))
