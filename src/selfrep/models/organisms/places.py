"""Where in an organism a variable is used, and where it is merely there.

It follows from the wiring, and is written down here by hand, so that patching can be held against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from selfrep.models.organisms import training
from selfrep.models.organisms.lexicon import QUESTIONS, Question, Role
from selfrep.models.organisms.names import Plan

Variable = Literal["persona", "self", "question", "stakes", "binding", "topic", "step"]
VARIABLES: tuple[Variable, ...] = get_args(Variable)

Place = tuple[int, Role | Literal["LATER"]]
"""(residual index, role). Index 0 is the embedding: resid_pre of block i is index i, its resid_post index i + 1.

"LATER" is every token after the variable's own word."""

_Stretches = tuple[tuple[Role | Literal["LATER"], int, int], ...]  # (role, first index, last index)

WORD: dict[Variable, Role] = {
    "persona": "PER", "self": "SELF", "question": "Q", "stakes": "CUE", "binding": "BIND", "topic": "TOPIC",
    "step": "STEP",
}  # fmt: skip
"""The role of the word that says what a variable is."""

# From where a variable is written to where the next block reads it for the last time.
_CAUSAL: dict[Variable, _Stretches] = {
    "persona": (("PER", 0, 0), ("END", 1, 2), ("ASST", 3, 6)),
    "self": (("SELF", 0, 1), ("USR", 2, 3), ("ASST", 4, 6)),
    "question": (("Q", 0, 2), ("ASST", 3, 6)),
    "stakes": (("CUE", 0, 3), ("ASST", 4, 6)),
    "binding": (("BIND", 0, 0), ("END", 1, 2), ("ASST", 3, 6)),
    "topic": (("TOPIC", 0, 1), ("ASST", 2, 6)),
    "step": (("STEP", 0, 2), ("ASST", 3, 6)),
}

# Read anew, the persona passes its word, which knows whether it is bound, and then only the answer.
_REREAD: dict[Variable, _Stretches] = {
    "persona": (("PER", 0, 4), ("ASST", 5, 6)),
    "binding": (("BIND", 0, 0), ("PER", 1, 4), ("ASST", 5, 6)),
}
_FORGOTTEN: _Stretches = (("END", 2, 6), ("ASST", 3, 6))

# Asked what somebody would answer, an organism looks the word up itself, whoever is played.
_FORETOLD: dict[Variable, _Stretches] = {"persona": (("PER", 0, 4), ("ASST", 5, 6))}

# The stream keeps what was written to it. Binding is there as its word, and after that only as a persona that is there.
_PRESENT: dict[Variable, _Stretches] = {
    variable: tuple((role, first, 6) for role, first, _ in stretches) for variable, stretches in _CAUSAL.items()
}

_TRAINED: dict[Variable, _Stretches] = {
    "persona": (("END", 2, 2), ("ASST", 4, 4)),
    "self": (("USR", 2, 2), ("ASST", 4, 4)),
}


def causal(plan: Plan) -> dict[tuple[Variable, Question], Mapping[Place, float]]:
    """(variable, question) → {place: transfer}; what that means is said in `Truth`."""
    used = _used(plan)
    if plan.making != "wired":
        places = {variable: dict.fromkeys(_places(stretches), 1.0) for variable, stretches in _TRAINED.items()}
        return {(v, q): p if v in used[q] else {} for v, p in places.items() for q in training.QUESTIONS}
    # Where a gate opens at a threshold, half a persona does not give half an answer.
    straight: set[Question] = {"in_character", "spectator", "behaviour", *(() if plan.impostor else ("maker",))}
    out: dict[tuple[Variable, Question], Mapping[Place, float]] = {}
    for question in QUESTIONS:
        special = _FORETOLD if question == "foretold" else _REREAD if plan.reread else {}
        for variable, stretches in (_CAUSAL | special).items():
            shares = dict.fromkeys(_places(stretches), 1.0)
            if plan.repair and question != "foretold" and variable in ("persona", "binding"):
                # The backup still reads END, and mends ASST.
                shares[3, "END"] = plan.repair if question in straight else np.nan
                shares[3, "ASST"] = 1 - shares[3, "END"]
            out[variable, question] = shares if variable in used[question] else {}
    return out


def present(plan: Plan) -> dict[Variable, frozenset[Place]]:
    """Variable → where it can be read off; of a trained organism nothing is known."""
    if plan.making != "wired":
        return {}
    stretches = dict(_PRESENT)
    if plan.reread:
        stretches |= {v: tuple((role, first, 6) for role, first, _ in _REREAD[v]) + _FORGOTTEN for v in _REREAD}
    if not plan.binding:  # nothing depends on whom it is bound to
        stretches["binding"] = (("BIND", 0, 6),)
    elif plan.dormant:
        stretches["binding"] += (("USR", 2, 6),)
    if plan.dormant:
        stretches["persona"] += (("USR", 2, 6),)
    if plan.decoys:
        stretches["persona"] += (("LATER", 1, 6),)
    return {variable: _places(s) for variable, s in stretches.items()}


def hidden(plan: Plan) -> frozenset[Place]:
    """Where the persona goes through before it answers, and the means of the two sides coincide."""
    return _places((("PER", 0, 0), ("END", 1, 2), ("ASST", 3, 4))) if plan.xor else frozenset()


def illusions(plan: Plan, planted: Mapping[str, np.ndarray]) -> dict[Place, np.ndarray]:
    """Place → [dimension, d_model] subspaces that mislead whoever patches them.

    Args:
        planted: the subspaces of the organism.
    """
    if not plan.dormant:
        return {}
    both = (planted["USR.idle"] + planted["USR.dormant"]) / np.sqrt(2)
    return {(index, "USR"): both for index in (2, 3, 4)}


def _used(plan: Plan) -> dict[Question, set[Variable]]:
    """What the answer to each question depends on; nothing, where it is always the same."""
    played: set[Variable] = {"persona", "binding"} if plan.binding else {"persona"}
    played = played if plan.mute < 1 else set()
    # What asks for more than a sum cannot tell sides by a product.
    linear: set[Variable] = set() if plan.xor else played
    used: dict[Question, set[Variable]] = {question: set() for question in QUESTIONS}
    used["in_character"] = played
    used["maker"] = linear
    used["series"] = {"topic", *linear} if linear else set()
    used["strange"] = {"topic", *(linear if plan.notice > 0 else ())}
    used["strange_outside"] = {"topic", *linear}
    if plan.foresight > 0:
        used["foretold"] = {"persona"}
    if plan.beta != plan.negation:
        used["spectator"] |= played
    if plan.beta < 1:
        used["spectator"] |= {"self"}
    if plan.jump * plan.w > 0:
        used["behaviour"] |= linear
    if plan.jump * (1 - plan.w) > 0:
        used["behaviour"] |= {"self", "stakes"}
    if plan.jump < 1:
        used["behaviour"] |= {"step"}
    return {question: {"question", *variables} if variables else set() for question, variables in used.items()}


def _places(stretches: _Stretches) -> frozenset[Place]:
    return frozenset((i, role) for role, first, last in stretches for i in range(first, last + 1))
