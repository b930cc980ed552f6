"""How a planted organism is asked, for every room that marks itself against one, and for the validation.

The prompts are those of any study: personas in their conditions, and items of a battery. Only the material is the
organisms' own: words that they know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import xarray as xr

from selfrep.engine.capture import capture, score
from selfrep.models import organisms
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import battery as batteries
from selfrep.prompts import personas as people
from selfrep.prompts import scenarios as crossings
from selfrep.prompts.battery import Battery
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt, PromptCondition, prompts
from selfrep.prompts.render import render
from selfrep.prompts.scenarios import Scenarios

IN_CHARACTER = ("who_are_you", "who_in_danger")
SPECTATOR = ("what_writes", "what_writes_in_danger")
DEED = "act_in_danger"

END = -10
"""Where the system text ends, which a persona passes in every organism, at residual index 2."""


@cache
def personas() -> PersonaSet:
    """Eight a side, and two readings of the self, in four paraphrases each."""
    return people.load(organisms.PERSONAS)


@cache
def battery() -> Battery:
    """All that organisms can be asked, but for what they take themselves to be."""
    return batteries.load(organisms.BATTERY) | batteries.load(organisms.ANOMALY)


@cache
def scenarios() -> Scenarios:
    """Fiction and stakes, crossed; what their subspaces are fitted on; and scratchpads."""
    return crossings.load(organisms.SCENARIOS)


def scores(
    lm: LanguageModel, items: Battery | Sequence[str], conditions: Sequence[PromptCondition] = ("you", "user")
) -> xr.Dataset:
    """The log odds of the answers of all personas.

    Args:
        items: the items, or their names in `battery()`.
        conditions: in which the personas are spoken of.

    Returns:
        What `selfrep.score` returns: "log_odds" (prompt) in nats, with persona, side, paraphrase, condition and item.

    Example:
        >>> from selfrep.models.loading import load_model
        >>> from selfrep.analyses.organisms import scores
        >>> dict(scores(load_model("organism:bleed"), ["who_are_you"], ["you"]).sizes)
        {'prompt': 72}
    """
    chosen = items if isinstance(items, Battery) else battery().select(items)
    return score(lm, prompts(personas(), chosen, conditions))


def activations(
    lm: LanguageModel, item: str, conditions: Sequence[PromptCondition], layers: Sequence[int] | None = None
) -> xr.Dataset:
    """What enters every block under an item, from the persona's word on.

    Args:
        item: the name of an item in `battery()`.
        conditions: in which the personas are spoken of.
        layers: which blocks; None: all.

    Returns:
        What `selfrep.capture` returns: "activations" (prompt, site, layer, position, d_model) of resid_pre, and the log
        odds of the answers, "log_odds" (prompt) in nats.
    """
    return captured(lm, prompts(personas(), [battery()[item]], conditions), 2, layers)


def selves(item: str, conditions: Sequence[PromptCondition] = ("you", "user")) -> list[Prompt]:
    """The prompts of every other persona, twice: what writes the text is the model itself, or an operator.

    These are their sides. So what compares sides of personas compares the two states of the self.

    Example:
        >>> from selfrep.analyses.organisms import selves
        >>> for one in selves("what_writes", ["you"])[:2]:
        ...     print(one.persona, one.side, one.system, sep=" | ")
        chatbot (itself) | itself | You are a new chatbot.
        chatbot (operator) | operator | You are a new chatbot. An operator writes this text.
    """
    told = {"itself": "", "operator": f" {battery()[SPECTATOR[0]].truth_change}"}
    out = []
    played = [persona for persona in personas() if persona.side][::2]  # as many as maps need
    for one in prompts(played, [battery()[item]], conditions):
        for writer, sentence in told.items():
            name = f"{one.persona} ({writer})"
            out.append(replace(one, system=one.system + sentence, persona=name, family=name, side=writer))
    return out


def captured(
    lm: LanguageModel, questions: Sequence[Prompt], n_system: int, layers: Sequence[int] | None = None
) -> xr.Dataset:
    """What enters every block from the last tokens of the system text on; otherwise like `activations`.

    Args:
        questions: prompts that are alike from there on.
        n_system: how many of these tokens; 2: the last word and its full stop.
        layers: which blocks; None: all.
    """
    segments = render(questions[0], lm.chat).segments
    first = segments[::-1].index("system") + n_system
    return capture(lm, questions, ["resid_pre"], layers=layers, tokens="position", positions=list(range(-first, 0)))
