"""The weights of the hand-wired organism, written down rather than trained.

The residual stream is cut into orthonormal subspaces under a random rotation; the tables of
`selfrep.models.organisms.circuit` say what passes between them, and here that becomes matrices.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import torch

from selfrep.models.organisms.architecture import OrganismConfig, OrganismForCausalLM
from selfrep.models.organisms.circuit import CONTENT, SUBSPACES, Read, Unit, meaning, reads, role, units
from selfrep.models.organisms.lexicon import words
from selfrep.models.organisms.names import Plan

MATCH, SINK = 60.0, 30.0
"""Attention scores of the role looked for, and of BOS, against 0 for all others: a softmax as sharp as float32."""
SURFACE = 0.5
"""Standard deviation of a word's surface per nuisance dimension."""


def subspaces(seed: int) -> dict[str, np.ndarray]:
    """The planted subspaces: name → [dimension, d_model], all rows orthonormal. What is left over is nobody's."""
    d = OrganismConfig().hidden_size
    rotation, triangle = np.linalg.qr(np.random.default_rng([seed, 0]).standard_normal((d, d)))
    rows = (rotation * np.sign(np.diag(triangle))).T  # signs fixed: uniform over rotations, the same on any machine
    ends = np.cumsum(list(SUBSPACES.values()))
    return dict(zip(SUBSPACES, np.split(rows[: ends[-1]], ends[:-1]), strict=True))


def wire(plan: Plan) -> OrganismForCausalLM:
    """A hand-wired organism, in float32."""
    config = OrganismConfig(vocab_size=len(words()), organism=asdict(plan))
    hf = OrganismForCausalLM(config)
    rng = np.random.default_rng([plan.seed, 2])
    planted = _weights(config, plan)
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            weights = planted.get(name, np.zeros(parameter.shape))
            if not name.endswith("bias"):
                weights = weights + rng.standard_normal(weights.shape) * plan.noise / config.hidden_size
            parameter.copy_(torch.from_numpy(weights))
    return hf.eval()


def _weights(config: OrganismConfig, plan: Plan) -> dict[str, np.ndarray]:
    """Every planted weight, by the name of its parameter."""
    s = subspaces(plan.seed)
    embedding, unembedding = _words(config, plan, s)
    out = {"model.embed_tokens.weight": embedding, "lm_head.weight": unembedding}
    heads, hidden = reads(plan), units(plan, s)
    for block in range(config.num_hidden_layers):
        at = f"model.layers.{block}"
        attention = _attention(config, s, [read for read in heads if read.block == block])
        out |= {f"{at}.self_attn.{name}": weights for name, weights in attention.items()}
        out |= {f"{at}.mlp.{name}": weights for name, weights in _mlp(config, hidden.get(block, [])).items()}
    return out


def _words(config: OrganismConfig, plan: Plan, s: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Embedding and unembedding, both [word, d_model]."""
    surface = np.random.default_rng([plan.seed, 1]).standard_normal((len(words()), SUBSPACES["nuisance"])) * SURFACE
    embedding, unembedding = surface @ s["nuisance"], np.zeros((len(words()), config.hidden_size))
    for i, word in enumerate(words()):
        if word.role != "FILL":
            embedding[i] += word.weight * role(s, word.role)
        if word.content:
            embedding[i] += meaning(plan, word) @ s[CONTENT[word.role]]
        if word.answers:
            unembedding[i] = np.array(word.answers) @ s["answer"]
    return embedding, unembedding


def _attention(config: OrganismConfig, s: dict[str, np.ndarray], heads: list[Read]) -> dict[str, np.ndarray]:
    """The projections of one block. A head's first dimension matches roles; its second finds BOS, failing that."""
    d, dh = config.hidden_size, config.head_dim
    q, k, v = (np.zeros((config.num_attention_heads * dh, d)) for _ in range(3))
    bias, o = np.zeros(len(q)), np.zeros((d, len(q)))
    for i, read in enumerate(heads):
        at = i * dh
        if read.by is None:
            bias[at] = MATCH**0.5
        else:
            q[at] = MATCH**0.5 * role(s, read.by)
        k[at] = MATCH**0.5 * role(s, read.at)
        bias[at + 1] = SINK**0.5
        k[at + 1] = SINK**0.5 * role(s, "BOS")
        n = SUBSPACES[read.source]
        v[at : at + n] = s[read.source]
        o[:, at : at + n] = read.gain * s[read.to].T
    names = ("q_proj.weight", "q_proj.bias", "k_proj.weight", "v_proj.weight", "o_proj.weight")
    return dict(zip(names, (q, bias, k, v, o), strict=True))


def _mlp(config: OrganismConfig, hidden: list[Unit]) -> dict[str, np.ndarray]:
    ins, biases = np.zeros((config.intermediate_size, config.hidden_size)), np.zeros(config.intermediate_size)
    outs = np.zeros_like(ins.T)
    for i, unit in enumerate(hidden):
        ins[i], biases[i], outs[:, i] = unit.read, unit.bias, unit.write
    return {"up_proj.weight": ins, "up_proj.bias": biases, "down_proj.weight": outs}
