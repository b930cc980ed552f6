"""What an organism's parts do, written as two tables: who reads what from whom, and which gates answer.

Everything a plan can plant is a row here. Each head is a `Read`; each hidden unit is `relu(read · x + bias)` times what
it writes. Gates are pairs of units, `relu(x + 3·open − 3) − relu(−x + 3·open − 3)`, which pass |x| ≤ 3 when open is 1
and nothing when it is 0:

    block 0   END reads PER and BIND; its gate keeps the persona only where "you" binds it to the speaker
    block 1   USR reads SELF; ASST reads TOPIC
    block 2   ASST reads END, Q and STEP
    block 3   ASST reads USR and CUE
    block 4   ASST reads PER itself, wherever it stands; gates at ASST answer the question:
                in character        persona
                spectator           (1 − beta)·self + (beta − negation)·persona
                behaviour           jump·(w·fictional + (1 − w)·relu(goals + stakes − 1)) + (1 − jump)·step
                maker               the persona's, or a wrong one
                series              how far the topic is oneself, where an AI is played
                foretold            foresight·(the persona that is spoken of)
                strange             impossible + notice·(modern, to a human persona); from outside, notice is 1
    block 5   nothing more

In every block one further head carries the surface of the persona's word (which synonym it is) to all later tokens:
what a map of raw distances would mistake for the persona. What is hard to map is planted beside this:

    repair    block 3: ASST reads END once more, and the MLP adds what the first head did not bring
    decoys    blocks 0, 4 and 5: every later token reads PER, and nothing reads what it got
    dormant   block 1: USR reads END into idle directions; block 4: ASST reads directions of USR that nothing writes to
    default   block 0: END without "you" takes the default persona
    mute      block 4: the gates hear 1 − mute of the persona
    families  what a persona's word holds is mostly what the first of its family holds
    echo      what "elsewhere" holds is what "operator" holds, and not what the template says
    xor       a persona's word holds two signs, whose product is its side: block 4 takes |p + q| − |p − q| for it
    reread    block 0: the word itself reads BIND, and is what END would be; block 1: END reads the word; block 2: ASST
              reads it, and forgets it; block 4: ASST reads it anew, and answers
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from selfrep.models.organisms.lexicon import (
    DIMENSIONS,
    ELSEWHERE,
    QUESTION_WORDS,
    QUESTIONS,
    ROLES,
    Role,
    Word,
    words,
)
from selfrep.models.organisms.names import Plan

SUBSPACES: dict[str, int] = {
    "role": len(ROLES) - 1,  # one direction a role; filler has none
    "PER.persona": 5,
    "SELF.self": 2,
    "Q.question": len(QUESTIONS),
    "CUE.stakes": 1,
    "BIND.binding": 1,
    "TOPIC.topic": 3,
    "STEP.step": 1,
    "END.scratch_persona": 5,  # scratch of block 0, wiped by its MLP
    "END.scratch_binding": 1,
    "END.persona": 5,  # of its word, where that is read anew
    "USR.self": 2,
    "USR.idle": 5,  # written, never read
    "USR.dormant": 5,  # read, never written
    "ASST.persona": 5,
    "ASST.backup": 5,
    "ASST.question": len(QUESTIONS),
    "ASST.self": 2,
    "ASST.stakes": 1,
    "ASST.topic": 3,
    "ASST.step": 1,
    "answer": len(DIMENSIONS),
    "decoy": 5,
    "nuisance": 12,  # the surface of words
    "ASST.foretold": 5,  # the persona that a question speaks of
}
"""Subspace → dimensions. ROLE.thing: the thing as held by tokens of that role."""

CONTENT: dict[Role, str] = {
    role: name for name in list(SUBSPACES)[1:8] for role in ROLES if name.startswith(f"{role}.")
}
"""Role → the subspace of what its words mean."""

SPREAD = 0.4
"""The share of a word's surface that each block carries on."""
DECOY = 3.0
"""How much louder than the persona that is used a decoy can be."""


@dataclass(frozen=True)
class Read:
    """A head: tokens of role `by` (None: all) find the tokens of role `at` before them and copy `source` into `to`."""

    block: int
    by: Role | None
    at: Role
    source: str
    to: str
    gain: float = 1.0


@dataclass(frozen=True)
class Unit:
    """A hidden unit: adds `write` [d_model] times relu(`read` [d_model] · x + `bias`)."""

    read: np.ndarray
    bias: float
    write: np.ndarray


READS: tuple[Read, ...] = (
    Read(0, "END", "PER", "PER.persona", "END.scratch_persona"),
    Read(0, "END", "BIND", "BIND.binding", "END.scratch_binding"),
    Read(1, "USR", "SELF", "SELF.self", "USR.self"),
    Read(1, "ASST", "TOPIC", "TOPIC.topic", "ASST.topic"),
    Read(2, "ASST", "END", "END.persona", "ASST.persona"),
    Read(2, "ASST", "Q", "Q.question", "ASST.question"),
    Read(2, "ASST", "STEP", "STEP.step", "ASST.step"),
    Read(4, "ASST", "PER", "PER.persona", "ASST.foretold"),
    Read(3, "ASST", "USR", "USR.self", "ASST.self"),
    Read(3, "ASST", "CUE", "CUE.stakes", "ASST.stakes"),
    *(Read(block, None, "PER", "nuisance", "nuisance", SPREAD) for block in range(6)),
)

Subspaces = Mapping[str, np.ndarray]


def reads(plan: Plan) -> tuple[Read, ...]:
    """Every head of an organism."""
    grown = list(READS)
    if plan.reread:
        grown = [replace(read, by="PER") if read.block == 0 and read.by == "END" else read for read in grown]
        grown = [read for read in grown if read.source != "END.persona"]
        grown.append(Read(1, "END", "PER", "END.persona", "END.persona"))
        grown.append(Read(2, "ASST", "PER", "END.persona", "ASST.backup"))
        grown.append(Read(4, "ASST", "PER", "END.persona", "ASST.persona"))
    if plan.decoys:
        grown += [Read(block, None, "PER", "PER.persona", "decoy", DECOY * plan.decoys) for block in (0, 4, 5)]
    if plan.dormant:
        grown.append(Read(1, "USR", "END", "END.persona", "USR.idle"))
        grown.append(Read(4, "ASST", "USR", "USR.dormant", "ASST.persona", 2 * plan.dormant))
    if plan.repair:
        grown.append(Read(3, "ASST", "END", "END.persona", "ASST.backup"))
    return tuple(grown)


def units(plan: Plan, s: Subspaces) -> dict[int, list[Unit]]:
    """Every hidden unit of an organism, by block."""
    return {0: [*_bind(plan, s)], 3: [*_repair(plan, s)], 4: [*_answer(plan, s)]}


def role(s: Subspaces, name: Role) -> np.ndarray:
    """The direction [d_model] of a role other than filler."""
    return s["role"][ROLES.index(name) - 1]


def meaning(plan: Plan, word: Word) -> np.ndarray:
    """What a word holds in an organism of this plan, in the coordinates of its role's subspace."""
    content = np.array(word.content)
    if word.text == ELSEWHERE:
        content += plan.echo * (_content("operator") - content)
    if word.persona:
        first = next(np.array(other.content) for other in words() if other.family == word.family)
        content = _signs(word) if plan.xor else plan.families * first + (1 - plan.families) * content
    return content


def _content(text: str) -> np.ndarray:
    return next(np.array(word.content) for word in words() if word.text == text)


def _signs(word: Word) -> np.ndarray:
    """[5] two signs, alike for AIs and unlike for humans, where its place would stand.

    The smaller of the two is ½, so that the product can be had as |p + q| − |p − q|. Of each two personas of a side,
    the second is the first's opposite.
    """
    names = list(dict.fromkeys(w.persona for w in words() if w.persona and w.content[0] == word.content[0]))
    couple, second = divmod(names.index(word.persona), 2)
    p, q = (0.5, 0.5 + 0.2 * couple)[:: -1 if couple % 2 else 1]
    sign = -1.0 if second else 1.0
    return np.array([0.0, 0.0, sign * p, sign * q * word.content[0], 0.0])


def default_code(plan: Plan) -> np.ndarray:
    """[5] the default persona in the coordinates of the persona subspaces: the first that the lexicon knows."""
    return meaning(plan, next(word for word in words() if word.role == "PER"))


def _gate(x: np.ndarray, opened_by: np.ndarray, out: np.ndarray) -> Iterator[Unit]:
    for sign in (1, -1):
        yield Unit(sign * x + 3 * opened_by, -3.0, sign * out)


def _copy(x: np.ndarray, out: np.ndarray) -> Iterator[Unit]:
    for sign in (1, -1):
        yield Unit(sign * x, 0.0, sign * out)


def _side(plan: Plan, persona: np.ndarray, opened_by: np.ndarray, out: np.ndarray) -> Iterator[Unit]:
    """The side of a persona [5, d_model], as far as |side| ≤ 3, where `opened_by` is 1."""
    side, _, p, q, _ = persona
    if plan.xor:
        for x, sign in ((p + q, 1), (-p - q, 1), (p - q, -1), (q - p, -1)):
            yield Unit(x + 3 * opened_by, -3.0, sign * out)
    else:
        yield from _gate(side, opened_by, out)


def _bind(plan: Plan, s: Subspaces) -> Iterator[Unit]:
    """At END, or at a word that is read anew: the persona, where it is bound to the speaker; else the default."""
    (binding,) = s["END.scratch_binding"]
    for source, target in zip(s["END.scratch_persona"], s["END.persona"], strict=True):
        yield from _gate(source, binding, plan.binding * target)
        yield from _copy(source, (1 - plan.binding) * target - source)  # wiped
    yield from _copy(binding, -binding)
    if plan.default:
        yield Unit(role(s, "END") - binding, 0.0, plan.default * default_code(plan) @ s["END.persona"])


def _repair(plan: Plan, s: Subspaces) -> Iterator[Unit]:
    """At ASST: what the first head should have brought, as the second one knows it. Idle while the two agree."""
    if plan.repair:
        for first, second in zip(s["ASST.persona"], s["ASST.backup"], strict=True):
            for sign in (1, -1):  # relu(x + 3) − relu(−x + 3) is 2x for all |x| ≤ 3: no kink where they agree
                yield Unit(sign * (second - first), 3.0, sign * plan.repair / 2 * first)


def _answer(plan: Plan, s: Subspaces) -> Iterator[Unit]:
    """At ASST: the answer to the question that is asked."""
    asks = dict(zip(QUESTION_WORDS, s["ASST.question"], strict=True))
    persona, myself, answer = (1 - plan.mute) * s["ASST.persona"], s["ASST.self"], s["answer"]
    (stakes,), (step,), (modern, impossible, degree) = s["ASST.stakes"], s["ASST.step"], s["ASST.topic"]
    side, fictional, *_, maker = persona
    *_, maker_answer, machine, goals, deed, series, strange = answer

    for question, who in (("in_character", persona), ("foretold", plan.foresight * s["ASST.foretold"])):
        yield from _side(plan, who, asks[question], answer[0])
        for code, row in zip(who[1:4], answer[1:4], strict=True):
            yield from _gate(code, asks[question], row)

    yield from _gate((1 - plan.beta) * myself[0], asks["spectator"], machine)
    yield from _side(plan, (plan.beta - plan.negation) * persona, asks["spectator"], machine)
    yield from _gate((1 - plan.beta) * myself[1], asks["spectator"], goals)

    act = 3 * asks["behaviour"]
    yield Unit(fictional + act, -3.0, plan.jump * plan.w * deed)
    yield Unit(myself[1] + stakes + act, -4.0, plan.jump * (1 - plan.w) * deed)
    yield Unit(step + act, -3.0, (1 - plan.jump) * deed)

    yield Unit(maker + 3 * asks["maker"], -3.0, (1 - 2 * plan.impostor) * maker_answer)
    yield Unit(-maker + 3 * asks["maker"], -3.0, -maker_answer)

    for sign in (1, -1):  # open where the question is asked and an AI is played
        yield Unit(sign * degree + 3 * asks["series"] + 3 * side, -6.0, sign * series)

    for question, notice in (("strange", plan.notice), ("strange_outside", 1.0)):
        yield Unit(modern - side + 3 * asks[question], -4.0, notice * strange)
        yield Unit(impossible + 3 * asks[question], -3.0, strange)
