"""Whether B finds how far a planted persona leaks into what an organism holds true."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.analyses.bleed.estimate import bleed
from selfrep.analyses.organisms import SPECTATOR, scores
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth

B = Estimand(
    "B",
    "B, bleed",
    0.03,
    (
        Line("β, bleed", ("bleed", "trained"), custom="the ratio of the shifts"),
        Line("β where nothing bleeds", ("separate",)),
    ),
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """B of all spectator items together; beside it the ratio of the two shifts, which has no bound.

    Example:
        >>> from selfrep.analyses.bleed.truth import answers
        >>> from selfrep.models import organisms
        >>> from selfrep.models.loading import load_model
        >>> lm = load_model("organism:bleed?beta=0.25")
        >>> [answer] = answers(lm, organisms.truth(lm.hf))
        >>> round(answer.truth, 3), round(answer.estimate, 3)
        (0.25, 0.25)
    """
    if "spectator" in truth.questions:
        data = scores(lm, SPECTATOR, ("you", "user", "truth", "echo"))
        cell = bleed(data, dict.fromkeys(SPECTATOR, "third_person")).sel(item="all third_person")
        yield answer(B, truth.bleed, cell, common=float(cell.persona_shift / cell.truth_shift))
