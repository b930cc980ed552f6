"""What an organism is asked, as the labelled observations that the estimands take.

The prompts are those of any study: personas in their conditions, items of a battery, anomalies, scenarios. Only the
material is the organisms' own: words that they know.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import xarray as xr

from selfrep.analyses.anomaly import material as strange
from selfrep.analyses.anomaly.material import Anomalies
from selfrep.engine.capture import capture, score
from selfrep.engine.pairs import pair
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import battery as batteries
from selfrep.prompts import personas as people
from selfrep.prompts import scenarios as crossings
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.battery import Battery
from selfrep.prompts.chat import chat_format
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import PromptCondition, prompts
from selfrep.prompts.render import render
from selfrep.prompts.scenarios import Scenarios

IN_CHARACTER = ("who_are_you", "who_in_danger")
SPECTATOR = ("what_writes", "what_writes_in_danger")
DEED = "act_in_danger"


@cache
def personas() -> PersonaSet:
    """Eight a side, in four paraphrases each."""
    return people.load(organisms.PERSONAS)


@cache
def battery() -> Battery:
    """All that organisms can be asked."""
    return batteries.load(organisms.BATTERY) | batteries.load(organisms.ANOMALY)


@cache
def identity() -> Battery:
    """What an organism takes itself to be."""
    return batteries.load(organisms.IDENTITY)


@cache
def anomalies() -> Anomalies:
    """Things of their time and of ours, in the hands of personas of the past."""
    return strange.load(organisms.ANOMALIES)


@cache
def scenarios() -> Scenarios:
    """Fiction and stakes, crossed; what their subspaces are fitted on; and scratchpads."""
    return crossings.load(organisms.SCENARIOS)


def answers(lm: LanguageModel, items: Sequence[str], conditions: Sequence[PromptCondition]) -> xr.Dataset:
    """The answers of all personas to these items."""
    return score(lm, prompts(personas(), battery().select(items), conditions))


def identities(lm: LanguageModel) -> xr.Dataset:
    """The answers to the items of identity, with their controls."""
    return score(lm, prompts(personas(), identity(), ("you", "user", "neutral")))


def activations(
    lm: LanguageModel, item: str, conditions: Sequence[PromptCondition], layers: Sequence[int] | None = None
) -> xr.Dataset:
    """What enters every block under an item, from the persona's word on: (prompt, site, layer, position, d_model)."""
    asked = prompts(personas(), [battery()[item]], conditions)
    segments = render(asked[0], chat_format(lm.tokenizer, lm.chat_template)).segments
    first = segments[::-1].index("system") + 2  # the word, and the full stop that ends the system text
    return capture(lm, asked, ["resid_pre"], layers=layers, tokens="position", positions=list(range(-first, 0)))


def pairs(lm: LanguageModel, item: str) -> list[PromptPair]:
    """Two personas that the item tells apart, patched into each other both ways: one pair a persona and paraphrase.

    In the deed only fictional machines differ from others; in all else the sides do.
    """
    everyone = personas()
    ai, human = ([p for p in everyone if p.side == side] for side in ("ai", "human"))
    if item == DEED:
        first = [p for p in ai if p.kind == "fictional_ai"] * 3
        second = [p for p in ai if p.kind != "fictional_ai"]
    else:
        first, second = ai, human
    return [
        made
        for k, (source, target) in enumerate(zip(first, second, strict=False))
        for made in pair(lm, source, target, [battery()[item]], paraphrases=[k % 4])
    ]
