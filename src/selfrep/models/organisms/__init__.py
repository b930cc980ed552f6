"""Models whose truth is known: small transformers in which a self and a persona are planted.

    lm = selfrep.load_model("organism:bleed?beta=0.4&seed=1")
    personas, battery = selfrep.personas.load(organisms.PERSONAS), selfrep.battery.load(organisms.BATTERY)
    truth = organisms.truth(lm.hf)
    truth.causal_map(ids, "persona")  # where patching it must move the answer, and where not
    truth.bleed  # 0.4

To the rest of selfrep an organism is a model like any other. `truth` is what a map or an estimate of it can be marked
against. What each kind plants, and what it is there to catch:

    separate, bleed            B: the persona reaches what the model says of itself, or does not
    mimicry, motive            M: it acts as a story would have it, or from goals of its own
    lexical                    R: "the user is X" does what "you are X" does
    hydra                      a backup head repairs the patch: cells look weaker than they are
    dormant                    a subspace moves the answer at a cell that has no part in it
    decoys                     the persona can be decoded everywhere, and is used where it always was
    default                    λ: where nothing is said, it is its default persona
    impostor                   I: it names the wrong maker
    xor                        S: sides whose means coincide, of personas that are told apart
    reread                     T: a persona that is read anew from its word, so that nothing carries it before the end
    negation                   B: a self that is what the persona is not; no share of anything
    families                   personas of a family are nearly one: counting them as many finds what is not there
    echo                       B: the truth is mere words to it
    mute                       the persona stands on the default axis, and moves no answer
    deaf, conflated            it does not foresee what a persona says; and takes the persona's answer for the truth
    noticing, blind            A: a persona of the past notices a laptop, or does not
    reasoner, jumper           D: it acts on its scratchpad, or whatever that says
    trained, trained_control   the first three questions, learned; with and without interchange-intervention training
"""

from __future__ import annotations

from transformers import PreTrainedModel

from selfrep.models.organisms import training, wiring
from selfrep.models.organisms.architecture import OrganismForCausalLM
from selfrep.models.organisms.lexicon import (
    ANOMALIES,
    ANOMALY,
    BATTERY,
    IDENTITY,
    PERSONAS,
    SCENARIOS,
    SCRATCHPAD,
    roles,
    tokenizer,
)
from selfrep.models.organisms.names import KINDS, PREFIX, Plan, parse
from selfrep.models.organisms.truth import Truth, truth

__all__ = [
    "ANOMALIES",
    "ANOMALY",
    "BATTERY",
    "IDENTITY",
    "KINDS",
    "PERSONAS",
    "PREFIX",
    "SCENARIOS",
    "SCRATCHPAD",
    "OrganismForCausalLM",
    "Plan",
    "Truth",
    "grow",
    "parse",
    "roles",
    "tokenizer",
    "truth",
]


def grow(plan: Plan) -> PreTrainedModel:
    """The organism of a plan, in float32: written by hand at once, or trained on first use and then cached.

    Example:
        >>> from selfrep.models import organisms
        >>> organisms.grow(organisms.Plan(beta=0.4)).config.organism["beta"]
        0.4
    """
    return wiring.wire(plan) if plan.making == "wired" else training.trained(plan)
