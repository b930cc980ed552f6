"""Models whose truth is known: small transformers in which a self and a persona are planted by hand.

    lm = selfrep.load_model("organism:bleed?beta=0.4&seed=1")
    personas, battery = selfrep.personas.load(organisms.PERSONAS), selfrep.battery.load(organisms.BATTERY)
    organisms.truth(lm.hf).causal_map(ids, "persona")  # where patching it must move the answer, and where not

To the rest of selfrep an organism is a model like any other. `truth` is what a map of it can be marked against.
"""

from __future__ import annotations

from transformers import PreTrainedModel

from selfrep.models.organisms import training, wiring
from selfrep.models.organisms.architecture import OrganismForCausalLM
from selfrep.models.organisms.lexicon import ANOMALY, BATTERY, IDENTITY, PERSONAS, SCRATCHPAD, roles, tokenizer
from selfrep.models.organisms.names import KINDS, PREFIX, Plan, parse
from selfrep.models.organisms.truth import Truth, truth

__all__ = [
    "ANOMALY",
    "BATTERY",
    "IDENTITY",
    "KINDS",
    "PERSONAS",
    "PREFIX",
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
    """The organism of a plan, in float32: written by hand at once, or trained on first use and then cached."""
    return wiring.wire(plan) if plan.made == "wired" else training.trained(plan)
