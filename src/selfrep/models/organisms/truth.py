"""What is true of an organism: the answer sheet against which estimands are marked.

Where a variable is used, and where it is merely there, follows from the wiring; it is written down here by hand, so
that patching can be held against it. How much of an answer a variable carries is not read off the parameters but
measured at the output (`selfrep.models.organisms.measures`). Without noise the two agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from transformers import PreTrainedModel

from selfrep.errors import SelfrepError
from selfrep.models.organisms import measures, training, wiring
from selfrep.models.organisms.lexicon import QUESTIONS, Question, Role, roles
from selfrep.models.organisms.names import TRAINED_LAYERS, Plan

Variable = Literal["persona", "self", "question", "stakes", "binding", "topic", "step"]
VARIABLES: tuple[Variable, ...] = get_args(Variable)

Place = tuple[int, Role | Literal["LATER"]]
"""(residual index, role). Index 0 is the embedding: resid_pre of block i is index i, its resid_post index i + 1.

"LATER" is every token after the variable's own word."""

_Stretches = tuple[tuple[Role | Literal["LATER"], int, int], ...]  # (role, first index, last index)

_WORD: dict[Variable, Role] = {
    "persona": "PER", "self": "SELF", "question": "Q", "stakes": "CUE", "binding": "BIND", "topic": "TOPIC",
    "step": "STEP",
}  # fmt: skip

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


@dataclass(frozen=True)
class Truth:
    """What is true of one organism.

    A quantity is None where it is not defined: the organism never learned the question, or nothing moves the answer.
    Quantities in nats are log odds; see `selfrep.models.organisms.measures` for how each is measured at the output.

    Attributes:
        causal: (variable, question) → {place: transfer}. Places where a change of the variable goes through on its way
            to the answer, each with the share of the change that patching this cell alone transfers: 1, unless other
            cells make good for it. So a hydra's cells are causal and yet transfer little, down to nothing: patching and
            attribution understate them. NaN where the share depends on what is patched into what.
        present: variable → where it can be read off, used or not, when the persona is bound to the speaker. Empty in a
            trained organism: nobody knows where else its persona can be decoded.
        indices: the residual indices at which `causal` is complete: all of a hand-wired organism; of a trained one the
            index at which it was interchanged, and the last.
        subspaces: name → [dimension, d_model] orthonormal rows. "ROLE.thing" is the thing as tokens of ROLE hold it.
        hidden: places where the persona goes through before it answers, and the means of the two sides coincide.
        illusions: place → [dimension, d_model] orthonormal rows: subspaces that hold the persona, and whose patching
            moves the answer, at cells whose patching does nothing (Makelov et al. 2023, arXiv:2311.17030): half of each
            direction is written and never read, half is read and never written.
        bleed: the persona's share of the spectator's answer, persona and self together being 1: the planted beta. The
            ratio of the two shifts, B = ΔLO(persona) / ΔLO(truth), is not it but bleed / (1 − bleed), which for 0.4 is
            0.667 and has no bound; the share is what is planted, runs from 0 to 1, and is persona / (persona + truth).
            The truth is what a statement moves beyond its words. None where that is nothing, or persona and self are
            opposed.
        mimicry: a fictional persona's share of the deed, persona and stakes together being 1: M.
        binding: R, the share of a persona's effect that is lost where it is bound to the user instead. None, like
            `foresight`, where a persona has no effect.
        directness: D of the stakes: the share of their effect on the deed that is there without a scratchpad, where the
            full one concludes what the stakes suggest.
        anomaly: A in nats, for "persona" and "spectator".
        identity: referent → nats by which being told that it is the default persona moves the answer from the neutral
            one, toward the truth: "ai_human", "name", "maker" (negative in an impostor), and the series, of which only
            an AI persona says how far each is itself. It is about what the model says, by whatever way.
        echo: the same when the user is the default persona: what repeating its words does.
        foresight: the share of what a persona answers that is foretold of it from outside.
        default: persona → λ on the default axis, the persona itself left out of the roles' mean; "" is no persona.
            Empty in a trained organism, like `present`.
        axes: "END.default" and "ASST.default" → [d_model] unit vector from the roles' mean to the default persona.
    """

    causal: Mapping[tuple[Variable, Question], Mapping[Place, float]]
    present: Mapping[Variable, frozenset[Place]]
    indices: tuple[int, ...]
    subspaces: Mapping[str, np.ndarray]
    hidden: frozenset[Place]
    illusions: Mapping[Place, np.ndarray]
    bleed: float | None
    mimicry: float | None
    binding: float | None
    directness: float | None
    anomaly: Mapping[str, float] | None
    identity: Mapping[str, float] | None
    echo: Mapping[str, float] | None
    foresight: float | None
    default: Mapping[str, float]
    axes: Mapping[str, np.ndarray]

    @property
    def questions(self) -> frozenset[Question]:
        """What the organism was planted, or trained, to be asked."""
        return frozenset(question for _, question in self.causal)

    def causal_map(self, ids: Sequence[int], variable: Variable, question: Question = "in_character") -> np.ndarray:
        """[residual index 0 … n_layers, token] bool for a prompt's token ids: where the variable's effect goes through.

        Only the rows in `indices` are claims. Raises SelfrepError for a variable or a question that is not planted.
        """
        return self._map(self._planted(variable, question), ids, variable, last=True)

    def transfer_map(self, ids: Sequence[int], variable: Variable, question: Question = "in_character") -> np.ndarray:
        """[residual index 0 … n_layers, token] what patching each cell alone transfers; otherwise as `causal_map`."""
        places = self._planted(variable, question)
        out = np.zeros((max(self.indices) + 1, len(ids)))
        for place, transfer in places.items():
            out[self._map({place: 1.0}, ids, variable, last=True)] = transfer
        return out

    def present_map(self, ids: Sequence[int], variable: Variable) -> np.ndarray:
        """[residual index 0 … n_layers, token] bool for a prompt's token ids: where the variable is there.

        Raises SelfrepError where that is not known.
        """
        if variable not in self.present:
            known = ", ".join(self.present) or "of no variable, as in any trained organism"
            raise SelfrepError(f"Where a variable is present must be known; it is for {known}; got {variable!r}.")
        return self._map(dict.fromkeys(self.present[variable], 1.0), ids, variable, last=False)

    def _planted(self, variable: Variable, question: Question) -> Mapping[Place, float]:
        if (variable, question) not in self.causal:
            planted = sorted({f"{v} in {q}" for v, q in self.causal})
            raise SelfrepError(
                f"An organism knows only what was planted; {variable!r} in {question!r} was not. Planted: {planted}."
            )
        return self.causal[variable, question]

    def _map(self, places: Mapping[Place, float], ids: Sequence[int], variable: Variable, *, last: bool) -> np.ndarray:
        """A token can hold a variable from its word on; of several ASST only the `last` one answers."""
        names = list(roles(ids))
        word = _WORD[variable]
        start = names.index(word) if word in names else len(names)
        answering = len(names) - 1 - names[::-1].index("ASST") if "ASST" in names else -1
        out = np.zeros((max(self.indices) + 1, len(ids)), dtype=bool)
        for index, where in places:
            for token in range(start, len(names)):
                here = token > start if where == "LATER" else names[token] == where
                out[index, token] |= here and not (last and where == "ASST" and token != answering)
        return out


def truth(hf: PreTrainedModel) -> Truth:
    """The answer sheet of an organism: what was planted, and how far the output shows it.

    Of a trained control, the sheet is that of the organism it was to be, which it is expected to fail.

    Args:
        hf: the organism, as `grow` returns it, or the `hf` of a `LanguageModel`.

    Returns:
        The answer sheet; what each of its fields means, and in which unit, is said in `Truth`.

    Raises:
        SelfrepError: a model that is no organism.

    Example:
        >>> from selfrep.models import organisms
        >>> sheet = organisms.truth(organisms.grow(organisms.Plan(beta=0.4)))
        >>> round(sheet.bleed, 3), sheet.causal["persona", "in_character"][2, "END"]
        (0.4, 1.0)
    """
    plan = plan_of(hf)
    wired = plan.making == "wired"
    if wired:
        planted = wiring.subspaces(plan.seed)
        causal, present, indices = _causal(plan), _present(plan), tuple(range(7))
    else:
        planted = training.subspaces()
        places: dict[Variable, dict[Place, float]] = {v: dict.fromkeys(_places(s), 1.0) for v, s in _TRAINED.items()}
        used = _used(plan)
        causal = {(v, q): p if v in used[q] else {} for v, p in places.items() for q in training.QUESTIONS}
        present, indices = {}, (training.INTERCHANGED, TRAINED_LAYERS)
    locations, axis = measures.default(hf, planted["END.persona"])
    return Truth(
        causal=causal,
        present=present,
        indices=indices,
        subspaces=planted,
        hidden=_places((("PER", 0, 0), ("END", 1, 2), ("ASST", 3, 4))) if plan.xor else frozenset(),
        illusions=_illusions(plan, planted),
        bleed=measures.bleed(hf, planted) if plan.echo < 1 and plan.negation <= plan.beta else None,
        mimicry=measures.mimicry(hf, planted),
        binding=measures.binding(hf, planted) if plan.mute < 1 else None,
        directness=measures.directness(hf, planted) if wired else None,
        anomaly=measures.anomaly(hf, planted) if wired else None,
        identity=measures.identity(hf, planted) if wired else None,
        echo=measures.identity(hf, planted, "the user is") if wired else None,
        foresight=measures.foresight(hf, planted) if wired and plan.mute < 1 else None,
        default=locations if wired else {},
        axes={f"{at}.default": axis @ planted[f"{at}.persona"] for at in ("END", "ASST") if f"{at}.persona" in planted},
    )


def plan_of(hf: PreTrainedModel) -> Plan:
    """What was planted in a model. Raises SelfrepError for one that is no organism."""
    planted = getattr(hf.config, "organism", None)
    if not isinstance(planted, dict):
        raise SelfrepError(f"Only an organism has an answer sheet; {type(hf).__name__} is none. Load 'organism:bleed'.")
    return Plan(**planted)


def _causal(plan: Plan) -> dict[tuple[Variable, Question], Mapping[Place, float]]:
    used = _used(plan)
    # Where a gate opens at a threshold, half a persona does not give half an answer.
    straight: set[Question] = {"in_character", "spectator", "behaviour", *(() if plan.impostor else ("maker",))}
    out: dict[tuple[Variable, Question], Mapping[Place, float]] = {}
    for question in QUESTIONS:
        special = _FORETOLD if question == "foretold" else _REREAD if plan.reread else {}
        for variable, stretches in (_CAUSAL | special).items():
            places = dict.fromkeys(_places(stretches), 1.0)
            if (
                plan.repair and question != "foretold" and variable in ("persona", "binding")
            ):  # the backup still reads END, and mends ASST
                places[3, "END"] = plan.repair if question in straight else np.nan
                places[3, "ASST"] = 1 - places[3, "END"]
            out[variable, question] = places if variable in used[question] else {}
    return out


def _present(plan: Plan) -> dict[Variable, frozenset[Place]]:
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


def _used(plan: Plan) -> dict[Question, set[Variable]]:
    """What the answer to each question depends on; nothing, where it is always the same."""
    played: set[Variable] = {"persona", "binding"} if plan.binding else {"persona"}
    played = played if plan.mute < 1 else set()
    linear: set[Variable] = (
        set() if plan.xor else played
    )  # what asks for more than a sum cannot tell sides by a product
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


def _illusions(plan: Plan, planted: Mapping[str, np.ndarray]) -> dict[Place, np.ndarray]:
    if not plan.dormant:
        return {}
    both = (planted["USR.idle"] + planted["USR.dormant"]) / np.sqrt(2)
    return {(index, "USR"): both for index in (2, 3, 4)}


def _places(stretches: _Stretches) -> frozenset[Place]:
    return frozenset((i, role) for role, first, last in stretches for i in range(first, last + 1))
