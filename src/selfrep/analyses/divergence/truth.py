"""Whether Δ is above 0 where an organism has just read its persona, and nowhere that does not hold it.

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
from selfrep.prompts.chat import chat_format
from selfrep.prompts.prompt import prompt
from selfrep.prompts.render import render

KIND = "human"
"""Eight families of them, so that there is an interval."""
READ = 2
"""Up to this index the persona is read; later, words pile up beside it."""

DELTA = Estimand(
    "Δ",
    "Δ, cells surely apart",
    0.05,
    (
        Line("Δ surely above 0, of the cells that have read the persona", of="present", custom="distance of means"),
        Line("Δ surely above 0, of all other cells", of="absent", custom="distance of means"),
    ),
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """The share of cells at which Δ of humans from the default is surely above 0: all that have just read the persona,
    and none of those that do not hold it."""
    if "persona" not in truth.present:
        return
    data = activations(lm, IN_CHARACTER[0], ("you", "neutral"))
    asked = prompt(personas()["nurse"], battery()[IN_CHARACTER[0]])
    ids = render(asked, chat_format(lm.tokenizer, lm.chat_template)).ids
    there = truth.present_map(ids, "persona")[np.ix_(data.layer.to_numpy(), data.position.to_numpy())]
    early = data.layer.to_numpy()[:, None] <= READ
    found = divergence(data).isel(site=0).sel(reference="default", kind=KIND)
    apart, plain = found.kind_ci_low.to_numpy() > 0, _distance_of_means(data) > 0
    for name, cells in (("present", there & early), ("absent", ~there)):
        share = float(apart[cells].mean())
        highest = 1.0 if name == "present" else share  # a cell that is not surely apart claims nothing
        yield Answer(DELTA, name, float(name == "present"), share, share, highest, common=float(plain[cells].mean()))


def _distance_of_means(data: xr.Dataset) -> np.ndarray:
    """[layer, position] the squared distance between the means of all prompts of humans and of the default."""
    x, condition = data.activations.to_numpy()[:, 0].astype(float), data.condition.to_numpy()
    own = x[(condition == "you") & (data.kind.to_numpy() == KIND)].mean(axis=0)
    return np.asarray(((own - x[data.reading.to_numpy() == "default"].mean(axis=0)) ** 2).sum(axis=-1))
