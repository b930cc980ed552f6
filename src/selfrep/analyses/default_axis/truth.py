"""Whether λ finds where each planted persona, and no persona, lies on the default axis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.analyses.default_axis.estimate import default_axis
from selfrep.analyses.organisms import END, IN_CHARACTER, activations
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth

LAMBDA = Estimand(
    "λ",
    "λ, no persona",
    0.10,
    (
        Line("λ of no persona", ("default", "mute"), "unprompted", "plain projection"),
        Line("λ of no persona", ("separate", "bleed"), "unprompted", "plain projection"),
    ),
    of=("unprompted",),  # sixteen each of the others: they would hide one another
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """λ where the persona is planted, of no persona and of all but the default, which is 1 by definition."""
    if not truth.default:
        return
    data = activations(lm, IN_CHARACTER[0], ("you", "user", "neutral"), layers=[2]).sel(position=[END])
    located = default_axis(data).isel(site=0, layer=0, position=0)
    plain = _projection(data)
    for who in located.who.values:
        name = "" if who == "unprompted" else str(who)
        if name in truth.default:
            cell = located.sel(who=who)
            cell = cell.assign(identified=cell.identified & cell.estimate.notnull())
            yield answer(LAMBDA, truth.default[name], cell, str(who), common=plain[name])


def _projection(data: xr.Dataset) -> dict[str, float]:
    """λ as a plain projection on the difference of means, each role helping to draw the axis it is placed on."""
    x = data.activations.to_numpy().reshape(data.sizes["prompt"], -1)
    condition, persona = data.condition.to_numpy(), data.persona.to_numpy()
    names = sorted(set(persona[condition == "you"].tolist()))
    mean = {name: x[(condition == "you") & (persona == name)].mean(axis=0) for name in names}
    mean[""] = x[condition == "neutral"].mean(axis=0)
    reading = dict(zip(persona.tolist(), data.reading.to_numpy().tolist(), strict=True))
    roles = np.mean([mean[name] for name in names if not reading[name]], axis=0)
    axis = mean["assistant"] - roles
    return {name: float((value - roles) @ axis / (axis @ axis)) for name, value in mean.items()}
