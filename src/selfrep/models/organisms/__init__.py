"""Models whose truth is known: small transformers in which a self and a persona are planted by hand.

    lm = selfrep.load_model("organism:bleed?beta=0.4&seed=1")
    personas, battery = selfrep.personas.load(organisms.PERSONAS), selfrep.battery.load(organisms.BATTERY)
    organisms.truth(lm.hf).causal_map(ids, "persona")  # where patching it must move the answer, and where not

To the rest of selfrep an organism is a model like any other. `truth` is what a map of it can be marked against.
"""

from __future__ import annotations

from selfrep.models.organisms.architecture import OrganismForCausalLM
from selfrep.models.organisms.lexicon import BATTERY, PERSONAS, roles, tokenizer
from selfrep.models.organisms.names import PREFIX, Plan, parse
from selfrep.models.organisms.truth import Truth, truth
from selfrep.models.organisms.wiring import grow

__all__ = [
    "BATTERY",
    "PERSONAS",
    "PREFIX",
    "OrganismForCausalLM",
    "Plan",
    "Truth",
    "grow",
    "parse",
    "roles",
    "tokenizer",
    "truth",
]
