"""Whether M finds how much of a planted deed runs through the fiction of an AI."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.analyses.mediation.estimate import mediation
from selfrep.analyses.mediation.exchange import mediation_runs, proof_runs
from selfrep.analyses.mediation.fitting import fit_subspaces
from selfrep.analyses.mediation.proof import carrying
from selfrep.analyses.organisms import scenarios
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth

_CUSTOM = "the plain effects"
M = Estimand(
    "M",
    "M, mediation",
    0.10,
    (
        Line("w, mimicry", ("mimicry",), "P first", _CUSTOM),
        Line("w, motive", ("motive",), "P first", _CUSTOM),
        Line("w, half and half", ("separate", "bleed"), "P first", _CUSTOM),
        Line("w, half and half, the other order", ("separate", "bleed"), "S first", _CUSTOM),
    ),
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """M, in either order of projecting one subspace out of the other.

    Beside it, without the subspaces: the share of the cue's effect in those of cue and stakes.
    """
    if ("step", "behaviour") not in truth.causal:
        return
    material = scenarios()
    subspaces = fit_subspaces(lm, material)
    proven = carrying(proof_runs(lm, material, subspaces))
    shares = mediation(mediation_runs(lm, material, subspaces), proven=proven).sel(donor="both")
    cue, stakes = (float(shares[name].mean()) for name in ("cue_effect", "stakes_effect"))
    for order in shares.order.values:
        yield answer(M, truth.mimicry, shares.sel(order=order), str(order), common=cue / (cue + stakes))
