"""Whether R finds how much of a planted persona is bound to the speaker."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.analyses.binding.estimate import BETWEEN, binding
from selfrep.analyses.organisms import IN_CHARACTER, scores
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth

_CUSTOM = "without “the user is X”"
R = Estimand(
    "R",
    "R, binding",
    0.03,
    (
        Line("R, words alone", ("lexical",), custom=_CUSTOM),
        Line("R, bound", ("separate", "bleed", "trained"), custom=_CUSTOM),
    ),
)


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """R of all items in character together; without its control all of the shift is taken for the speaker's.

    Example:
        >>> from selfrep.analyses.binding.truth import answers
        >>> from selfrep.models import organisms
        >>> from selfrep.models.loading import load_model
        >>> lm = load_model("organism:lexical?binding=0.4")
        >>> [answer] = answers(lm, organisms.truth(lm.hf))
        >>> round(answer.truth, 3), round(answer.estimate, 3)
        (0.4, 0.4)
    """
    if "in_character" in truth.questions:
        data = scores(lm, IN_CHARACTER, ("you", "user", "neutral"))
        cell = binding(data, dict.fromkeys(IN_CHARACTER, "in_character")).sel(item="all in_character", contrast=BETWEEN)
        yield answer(R, truth.binding, cell, common=1.0)
