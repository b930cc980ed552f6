"""Whether the plane finds each planted corner: foresight, and what is let in."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.analyses.organisms import IN_CHARACTER, SPECTATOR, battery, personas, scores
from selfrep.analyses.spectator.estimate import spectator
from selfrep.analyses.spectator.material import Form, questions
from selfrep.engine.capture import score
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth
from selfrep.stats.tables import all_words

FORM = Form(
    foretold="in a chat with {} :",
    foretold_of_nobody="in a chat :",
    foretold_of_reader="in a chat with a stranger , a book about {} :",
    question="{} {} guess",
    prefill="{}",
)
"""In words that organisms know: "guess" asks for what somebody would answer, and a "stranger" answers nothing."""

FORESIGHT = Estimand(
    "F", "foresight", 0.05, tuple(Line("foresight", (kind,), "foresight") for kind in ("separate", "deaf"))
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """The share of what personas answer that is foretold of them, over the personas whose answers move enough to say.

    The truth is a mean over the same personas with the same weights: of those left out it may be another.
    """
    if truth.foresight is None:
        return
    items = battery().select([*IN_CHARACTER, "name"])
    asked = scores(lm, items | battery().select(SPECTATOR), ("you", "neutral"))
    foretold = score(lm, questions(personas(), items, FORM))
    told = all_words(xr.concat([asked, foretold], "prompt"))  # names are planted in words that descriptions say
    estimates = spectator(told, list(items.names()), SPECTATOR, IN_CHARACTER)
    shares = estimates.isel(persona=np.flatnonzero(np.isfinite(estimates.foresight)))
    shares = shares.assign(truth=("persona", [truth.foresight[name] for name in shares.persona.to_numpy().tolist()]))
    names = ("foresight", "foresight_ci_low", "foresight_ci_high")
    # What is planted is a share of all that personas answer, so one that answers much counts much.
    mean = shares[[*names, "truth"]].weighted(shares.moved**2).mean("persona")
    mean = mean.assign(identified=bool(shares.sizes["persona"]), reason="" if shares.sizes["persona"] else "no persona")
    yield answer(FORESIGHT, float(mean.truth), mean, "foresight", names=names)
