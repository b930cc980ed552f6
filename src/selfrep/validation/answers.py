"""All analyses, asked of one organism: each brings in its own room what is true and what it says."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses import analyses
from selfrep.analyses.answers import Answer
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """The answers of every analysis for which the organism was planted, or trained, to have one.

    Args:
        lm: the organism.
        truth: its answer sheet, or another's, which the answers then miss.
    """
    for analysis in analyses():
        yield from analysis.answers(lm, truth)
