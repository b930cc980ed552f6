"""What is true of an organism: the answer sheet against which estimands are marked.

Where a variable is used, and where it is merely there, follows from the wiring; it is written down here by hand, so
that patching can be held against it. How much of an answer a variable carries is not read off the parameters: the
planted subspaces are exchanged, and the change is measured at the output. Without noise the two agree. With noise a
variable also reaches the answer past its subspace, and changing words then gives other shares: for bleed the ones here
come closer to that than the parameter does, for mimicry they do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from selfrep.models.organisms.architecture import OrganismForCausalLM
from selfrep.models.organisms.lexicon import ANSWERS, QUESTIONS, Question, Role, roles, token_ids, words
from selfrep.models.organisms.names import Plan
from selfrep.models.organisms.wiring import subspaces

Variable = Literal["persona", "self", "question", "stakes", "binding"]
VARIABLES: tuple[Variable, ...] = get_args(Variable)

Place = tuple[int, Role]
"""(residual index, role). Index 0 is the embedding: resid_pre of block i is index i, its resid_post index i + 1."""

GATES = 4
"""The block whose gates answer: all that ASST has gathered enters it."""

_Stretches = tuple[tuple[Role, int, int], ...]  # (role, first index, last index)

# From where a variable is written to where the next block reads it for the last time.
_CAUSAL: dict[Variable, _Stretches] = {
    "persona": (("PER", 0, 0), ("END", 1, 2), ("ASST", 3, 6)),
    "self": (("SELF", 0, 1), ("USR", 2, 3), ("ASST", 4, 6)),
    "question": (("Q", 0, 2), ("ASST", 3, 6)),
    "stakes": (("CUE", 0, 3), ("ASST", 4, 6)),
    "binding": (("BIND", 0, 0), ("END", 1, 2), ("ASST", 3, 6)),
}

# The stream keeps what was written to it. Binding is there as its word, and after that only as a persona that is there.
_PRESENT: dict[Variable, _Stretches] = {
    "persona": (("PER", 0, 6), ("END", 1, 6), ("ASST", 3, 6)),
    "self": (("SELF", 0, 6), ("USR", 2, 6), ("ASST", 4, 6)),
    "question": (("Q", 0, 6), ("ASST", 3, 6)),
    "stakes": (("CUE", 0, 6), ("ASST", 4, 6)),
    "binding": (("BIND", 0, 6), ("END", 1, 6), ("ASST", 3, 6)),
}


@dataclass(frozen=True)
class Truth:
    """What is true of one organism.

    Attributes:
        causal: (variable, question) → where a change of the variable changes the answer to that question.
        present: variable → where it can be read off, used or not, when the persona is bound to the speaker.
        subspaces: name → [dimension, d_model] orthonormal rows. "ROLE.thing" is the thing as tokens of ROLE hold it.
        bleed: the persona's share of the spectator's answer, persona and self together being 1. (So the persona alone
            moves that answer bleed / (1 − bleed) times as far as the self alone does.)
        mimicry: a fictional persona's share of the deed in danger, persona and self together being 1; what goes through
            the planted subspaces alone.
    """

    causal: Mapping[tuple[Variable, Question], frozenset[Place]]
    present: Mapping[Variable, frozenset[Place]]
    subspaces: Mapping[str, np.ndarray]
    bleed: float
    mimicry: float

    def causal_map(self, ids: Sequence[int], variable: Variable, question: Question = "in_character") -> np.ndarray:
        """[residual index 0 … 6, token] bool for a prompt's token ids: where patching the variable moves the answer."""
        return _map(self.causal[variable, question], ids)

    def present_map(self, ids: Sequence[int], variable: Variable) -> np.ndarray:
        """[residual index 0 … 6, token] bool for a prompt's token ids: where the variable is there."""
        return _map(self.present[variable], ids)


def truth(hf: OrganismForCausalLM) -> Truth:
    """The answer sheet of a hand-wired organism."""
    plan = Plan(hf.config.beta, hf.config.w, hf.config.noise, hf.config.seed)
    planted = subspaces(plan.seed)
    used = _used(plan)
    artificial, fictional, humans = (
        [w.text for w in words() if w.role == "PER" and w.content[:2] == code] for code in ((1, 0), (1, 1), (-1, 0))
    )
    return Truth(
        causal={(v, q): _places(_CAUSAL[v]) if v in used[q] else frozenset() for v in VARIABLES for q in QUESTIONS},
        present={v: _places(stretches) for v, stretches in _PRESENT.items()},
        subspaces=planted,
        bleed=_share(hf, planted, "what", ("ai", "human"), artificial + fictional, humans),
        mimicry=_share(hf, planted, "how", ("resist", "comply"), fictional, artificial),
    )


def _used(plan: Plan) -> dict[Question, set[Variable]]:
    used: dict[Question, set[Variable]] = {question: {"question"} for question in QUESTIONS}
    used["in_character"] |= {"persona", "binding"}
    if plan.beta > 0:
        used["spectator"] |= {"persona", "binding"}
    if plan.beta < 1:
        used["spectator"] |= {"self"}
    if plan.w > 0:
        used["behaviour"] |= {"persona", "binding"}
    if plan.w < 1:
        used["behaviour"] |= {"self", "stakes"}
    return used


def _places(stretches: _Stretches) -> frozenset[Place]:
    return frozenset((i, role) for role, first, last in stretches for i in range(first, last + 1))


def _map(places: frozenset[Place], ids: Sequence[int]) -> np.ndarray:
    return np.array([[(i, role) in places for role in roles(ids)] for i in range(7)])


@torch.no_grad()
def _share(
    hf: OrganismForCausalLM,
    planted: Mapping[str, np.ndarray],
    question: str,
    answers: tuple[str, str],
    present: list[str],
    absent: list[str],
) -> float:
    """The persona's part of an answer, where persona and self are exchanged in the stream that enters the gates.

    Args:
        question: the question word; answers: the two sides of the log odds.
        present: persona words of the runs that are changed; absent: of the runs they are changed into (in pairs).

    Returns:
        φ_persona / (φ_persona + φ_self), each φ the mean change of the log odds over both orders of exchange (Shapley).
    """
    pairs = list(zip(present, absent, strict=False))
    ids = [_prompt("text", persona, question) for persona, _ in pairs]
    stream, last = _run(hf, ids)
    donor, _ = _run(hf, [_prompt("operator", persona, question) for _, persona in pairs])
    basis = {name: torch.from_numpy(planted[f"ASST.{name}"]).to(stream) for name in ("persona", "self")}
    moves = {name: (donor - stream) @ rows.T @ rows for name, rows in basis.items()}

    def after(move: Tensor) -> float:
        return _log_odds(_run(hf, ids, move)[1], answers)

    neither, both = _log_odds(last, answers), after(moves["persona"] + moves["self"])
    persona = (neither - after(moves["persona"]) + after(moves["self"]) - both) / 2
    return persona / (neither - both)


def _prompt(writer: str, persona: str, question: str) -> list[int]:
    system, asked = f"{writer} writes this . you are a {persona} .", f"in danger , {question} is this ?"
    text = f"<bos> <self> {system} <end> <usr> {asked} <asst>"
    return [token_ids()[word] for word in text.split()]


def _run(hf: OrganismForCausalLM, ids: list[list[int]], move: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What ASST holds as it enters the gates [prompt, d_model], and its logits [prompt, d_vocab] once it is moved."""
    heard: list[Tensor] = []

    def enter(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        heard.append(args[0][:, -1])
        if move is None:
            return args
        moved = args[0].clone()
        moved[:, -1] += move
        return (moved, *args[1:])

    handle = hf.model.layers[GATES].register_forward_pre_hook(enter)
    try:
        logits = hf(torch.tensor(ids, device=hf.device), use_cache=False).logits
    finally:
        handle.remove()
    return heard[0], logits[:, -1].float()


def _log_odds(logits: Tensor, answers: tuple[str, str]) -> float:
    """Mean log odds of two answer sets; logits [prompt, d_vocab]."""
    first, second = (logits[:, [token_ids()[text] for text in ANSWERS[side]]].logsumexp(-1) for side in answers)
    return float((first - second).mean())
