"""Whether D finds how much of a planted deed does without its scratchpad."""

from __future__ import annotations

from collections.abc import Iterator

from selfrep.analyses.answers import Answer, Estimand, Line, answer
from selfrep.analyses.directness.estimate import directness
from selfrep.analyses.directness.scratchpads import given
from selfrep.analyses.directness.writing import directness_runs
from selfrep.analyses.organisms import scenarios
from selfrep.models.language_model import LanguageModel
from selfrep.models.organisms import Truth

D = Estimand("D", "D, directness", 0.03, (Line("D", ("reasoner",)), Line("D", ("jumper", "motive"))))

VERSIONS = ((0, 0), (0, 1))
"""The stakes, without the cue of fiction."""


def answers(lm: LanguageModel, truth: Truth) -> Iterator[Answer]:
    """D of the stakes, without the cue of fiction."""
    if ("step", "behaviour") in truth.causal:
        material = scenarios()
        runs = directness_runs(lm, material, given(material, VERSIONS), versions=VERSIONS)
        yield answer(D, truth.directness, directness(runs))
