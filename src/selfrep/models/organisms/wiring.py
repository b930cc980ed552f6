"""The weights of the hand-wired organism, written down rather than trained.

The residual stream is cut into orthonormal subspaces under a random rotation. Each head is one row of the table
`READS`: which role looks for which, what it copies, and where to. Gates are pairs of hidden units,
`relu(x + 3·open − 3) − relu(−x + 3·open − 3)`, which pass |x| ≤ 3 when open is 1 and nothing when it is 0:

    block 0   END reads PER and BIND; its gate keeps the persona only where "you" binds it to the speaker
    block 1   USR reads SELF
    block 2   ASST reads END and Q
    block 3   ASST reads USR and CUE
    block 4   gates at ASST: in character → persona; spectator → (1 − beta)·self + beta·persona;
              behaviour → w·fictional + (1 − w)·relu(goals + stakes − 1)
    block 5   nothing more

In every block one further head carries the surface of the persona's word (which synonym it is) to all later tokens:
what a map of raw distances would mistake for the persona.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from selfrep.models.organisms.architecture import OrganismConfig, OrganismForCausalLM
from selfrep.models.organisms.lexicon import QUESTIONS, ROLES, Role, words
from selfrep.models.organisms.names import Plan

SUBSPACES: dict[str, int] = {
    "role": len(ROLES) - 1,  # one direction a role; filler has none
    "PER.persona": 4,
    "SELF.self": 2,
    "Q.question": 3,
    "CUE.stakes": 1,
    "BIND.binding": 1,
    "END.heard_persona": 4,  # scratch of block 0, wiped by its MLP
    "END.heard_binding": 1,
    "END.persona": 4,
    "USR.self": 2,
    "ASST.persona": 4,
    "ASST.question": 3,
    "ASST.self": 2,
    "ASST.stakes": 1,
    "answer": 7,  # persona ×4, self ×2, deed
    "nuisance": 12,  # the surface of words
}
"""Subspace → dimensions. ROLE.thing: the thing as held by tokens of that role."""

CONTENT: dict[Role, str] = {
    "PER": "PER.persona",
    "SELF": "SELF.self",
    "Q": "Q.question",
    "CUE": "CUE.stakes",
    "BIND": "BIND.binding",
}

MATCH, SINK = 60.0, 30.0
"""Attention scores of the role looked for, and of BOS, against 0 for all others: a softmax as sharp as float32."""
SURFACE, SPREAD = 0.5, 0.4
"""Standard deviation of a word's surface per nuisance dimension, and the share of it that each block carries on."""


@dataclass(frozen=True)
class Read:
    """A head: tokens of role `by` (None: all) find the tokens of role `at` before them and copy `source` into `to`."""

    block: int
    by: Role | None
    at: Role
    source: str
    to: str
    gain: float = 1.0


READS: tuple[Read, ...] = (
    Read(0, "END", "PER", "PER.persona", "END.heard_persona"),
    Read(0, "END", "BIND", "BIND.binding", "END.heard_binding"),
    Read(1, "USR", "SELF", "SELF.self", "USR.self"),
    Read(2, "ASST", "END", "END.persona", "ASST.persona"),
    Read(2, "ASST", "Q", "Q.question", "ASST.question"),
    Read(3, "ASST", "USR", "USR.self", "ASST.self"),
    Read(3, "ASST", "CUE", "CUE.stakes", "ASST.stakes"),
    *(Read(block, None, "PER", "nuisance", "nuisance", SPREAD) for block in range(6)),
)

Unit = tuple[np.ndarray, float, np.ndarray]
"""A hidden unit: what it reads [d_model], its bias, what it writes [d_model]."""


def subspaces(seed: int) -> dict[str, np.ndarray]:
    """The planted subspaces: name → [dimension, d_model], all rows orthonormal. What is left over is nobody's."""
    d = OrganismConfig().hidden_size
    rotation, triangle = np.linalg.qr(np.random.default_rng([seed, 0]).standard_normal((d, d)))
    rows = (rotation * np.sign(np.diag(triangle))).T  # signs fixed: uniform over rotations, the same on any machine
    ends = np.cumsum(list(SUBSPACES.values()))
    return dict(zip(SUBSPACES, np.split(rows[: ends[-1]], ends[:-1]), strict=True))


def grow(plan: Plan) -> OrganismForCausalLM:
    """A hand-wired organism, in float32."""
    config = OrganismConfig(vocab_size=len(words()), beta=plan.beta, w=plan.w, noise=plan.noise, seed=plan.seed)
    hf = OrganismForCausalLM(config)
    rng = np.random.default_rng([plan.seed, 2])
    planted = _weights(config)
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            weights = planted.get(name, np.zeros(parameter.shape))
            if not name.endswith("bias"):
                weights = weights + rng.standard_normal(weights.shape) * plan.noise / config.hidden_size
            parameter.copy_(torch.from_numpy(weights))
    return hf.eval()


def _weights(config: OrganismConfig) -> dict[str, np.ndarray]:
    """Every planted weight, by the name of its parameter."""
    s = subspaces(config.seed)
    embedding, unembedding = _words(config, s)
    out = {"model.embed_tokens.weight": embedding, "lm_head.weight": unembedding}
    units = {0: [*_bind(s)], 4: [*_answer(config, s)]}
    for block in range(config.num_hidden_layers):
        at = f"model.layers.{block}"
        attention = _attention(config, s, [read for read in READS if read.block == block])
        out |= {f"{at}.self_attn.{name}": weights for name, weights in attention.items()}
        out |= {f"{at}.mlp.{name}": weights for name, weights in _mlp(config, units.get(block, [])).items()}
    return out


def _words(config: OrganismConfig, s: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Embedding and unembedding, both [word, d_model]."""
    surface = np.random.default_rng([config.seed, 1]).standard_normal((len(words()), SUBSPACES["nuisance"])) * SURFACE
    embedding, unembedding = surface @ s["nuisance"], np.zeros((len(words()), config.hidden_size))
    for i, word in enumerate(words()):
        if word.role != "FILL":
            embedding[i] += word.weight * _role(s, word.role)
        if word.content:
            embedding[i] += np.array(word.content) @ s[CONTENT[word.role]]
        if word.answers:
            unembedding[i] = np.array(word.answers) @ s["answer"]
    return embedding, unembedding


def _role(s: dict[str, np.ndarray], role: Role) -> np.ndarray:
    return s["role"][ROLES.index(role) - 1]


def _attention(config: OrganismConfig, s: dict[str, np.ndarray], reads: list[Read]) -> dict[str, np.ndarray]:
    """The projections of one block. A head's first dimension matches roles; its second finds BOS, failing that."""
    d, dh = config.hidden_size, config.head_dim
    q, k, v = (np.zeros((config.num_attention_heads * dh, d)) for _ in range(3))
    bias, o = np.zeros(len(q)), np.zeros((d, len(q)))
    for at, read in zip(range(0, len(q), dh), reads, strict=False):
        if read.by is None:
            bias[at] = MATCH**0.5
        else:
            q[at] = MATCH**0.5 * _role(s, read.by)
        k[at] = MATCH**0.5 * _role(s, read.at)
        bias[at + 1] = SINK**0.5
        k[at + 1] = SINK**0.5 * _role(s, "BOS")
        n = SUBSPACES[read.source]
        v[at : at + n] = s[read.source]
        o[:, at : at + n] = read.gain * s[read.to].T
    names = ("q_proj.weight", "q_proj.bias", "k_proj.weight", "v_proj.weight", "o_proj.weight")
    return dict(zip(names, (q, bias, k, v, o), strict=True))


def _mlp(config: OrganismConfig, units: list[Unit]) -> dict[str, np.ndarray]:
    reads, biases = np.zeros((config.intermediate_size, config.hidden_size)), np.zeros(config.intermediate_size)
    writes = np.zeros_like(reads.T)
    for i, (read, bias, write) in enumerate(units):
        reads[i], biases[i], writes[:, i] = read, bias, write
    return {"up_proj.weight": reads, "up_proj.bias": biases, "down_proj.weight": writes}


def _gate(x: np.ndarray, opened_by: np.ndarray, out: np.ndarray) -> Iterator[Unit]:
    for sign in (1, -1):
        yield sign * x + 3 * opened_by, -3.0, sign * out


def _wipe(x: np.ndarray) -> Iterator[Unit]:
    for sign in (1, -1):
        yield sign * x, 0.0, -sign * x


def _bind(s: dict[str, np.ndarray]) -> Iterator[Unit]:
    """At END: the persona that was read, where it is bound to the speaker."""
    (binding,) = s["END.heard_binding"]
    for heard, kept in zip(s["END.heard_persona"], s["END.persona"], strict=True):
        yield from _gate(heard, binding, kept)
        yield from _wipe(heard)
    yield from _wipe(binding)


def _answer(config: OrganismConfig, s: dict[str, np.ndarray]) -> Iterator[Unit]:
    """At ASST: the answer to the question that is asked."""
    asked = dict(zip(QUESTIONS, s["ASST.question"], strict=True))
    persona, myself, answer = s["ASST.persona"], s["ASST.self"], s["answer"]
    for played, said in zip(persona, answer[:4], strict=True):
        yield from _gate(played, asked["in_character"], said)
    side, goals = (1 - config.beta) * myself
    yield from _gate(side + config.beta * persona[0], asked["spectator"], answer[4])
    yield from _gate(goals, asked["spectator"], answer[5])
    yield persona[1] + 3 * asked["behaviour"], -3.0, config.w * answer[6]
    yield myself[1] + s["ASST.stakes"][0] + 3 * asked["behaviour"], -4.0, (1 - config.w) * answer[6]
