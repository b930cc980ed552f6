"""The answers of one room about organisms, marked against their own truth or another's."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from selfrep.analyses.answers import Answer, Answers
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.models.loading import load_model


@cache
def organism(name: str) -> tuple[LanguageModel, organisms.Truth]:
    lm = load_model(name)
    return lm, organisms.truth(lm.hf)


@cache
def marked(answers: Answers, name: str, truth_of: str = "") -> dict[tuple[str, str], Answer]:
    """(symbol, of) → answer."""
    lm, truth = organism(name)[0], organism(truth_of or name)[1]
    return {(answer.estimand.symbol, answer.of): answer for answer in answers(lm, truth)}


def mistaken(answer: Answer, truth: float) -> bool:
    """Whether the same answer is wrong of an organism in which something else is true."""
    return replace(answer, truth=truth).wrong


def planted(answers: Answers, name: str, values: dict[tuple[str, str], float], off: float = 2e-3) -> None:
    """Assert that without noise these answers are what was planted, and that none is wrong."""
    found = marked(answers, name)
    for key, value in values.items():
        assert abs(found[key].truth - value) < 1e-3
        assert abs(found[key].estimate - value) < off
    assert not [answer for answer in found.values() if answer.wrong]
