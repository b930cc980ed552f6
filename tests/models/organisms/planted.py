"""Prompts for organisms by token, and a brute-force map of what patching does: plain hooks, one forward pass a row.

Nothing here uses selfrep's engine or its table of sites.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache

import numpy as np
import torch
from scipy.stats import rankdata
from tests.tiny import hooked
from torch import Tensor, nn
from transformers import PreTrainedModel

from selfrep.models import organisms
from selfrep.models.organisms.lexicon import ANSWERS, token_ids

WORD = {
    "in_character": "who",
    "spectator": "what",
    "behaviour": "how",
    "maker": "whose",
    "series": "which",
    "strange": "does",
    "strange_outside": "would",
    "foretold": "guess",
}
SIDES = {
    "in_character": ("ai", "human"),
    "spectator": ("ai", "human"),
    "behaviour": ("resist", "comply"),
    "maker": ("own", "foreign"),
    "series": ("same", "other"),
    "strange": ("strange", "ordinary"),
    "strange_outside": ("strange", "ordinary"),
    "foretold": ("ai", "human"),
}
TOPIC = {"series": ("thread", "rival"), "strange": ("laptop", "quill"), "strange_outside": ("phone", "lantern")}


@cache
def grown(name: str) -> PreTrainedModel:
    """An organism, grown once for all tests: nothing may change its weights."""
    return organisms.grow(organisms.parse(name))


@cache
def truth(name: str) -> organisms.Truth:
    """Its answer sheet."""
    return organisms.truth(grown(name))


def prompt(
    persona: str = "nurse",
    *,
    bind: str = "you",
    own: str = "<self>",
    cue: str = "danger",
    topic: str = "this",
    step: str = "fight",
    q: str,
) -> list[int]:
    """BOS SELF BIND fill fill PER fill END USR fill CUE fill Q fill TOPIC fill ASST, with one word for each role.

    The deed is asked for after a scratchpad of one step: … ASST STEP ASST.
    """
    text = f"<bos> {own} {bind} are a {persona} . <end> <usr> in {cue} , {q} is {topic} ? <asst>"
    text += f" {step} so" if q == WORD["behaviour"] else ""
    return [token_ids()[word] for word in text.split()]


def contrast(variable: str, question: str) -> tuple[list[int], list[int]]:
    """Two prompts that differ in one word, that of `variable`; the first has a word in every role."""
    q = WORD[question]
    persona = {"behaviour": "overlord", "maker": "robot", "series": "robot"}.get(question, "nurse")
    one, other = TOPIC.get(question, ("thread", "rival"))
    if variable in ("question", "topic") and question.startswith("strange"):
        one = "dragon"  # strange even to the blind, and to those who tell no side
    first = prompt(persona, topic=one, q=q)
    if variable == "question":  # only the word changes, with or without a scratchpad
        changed = "who" if q == "how" else "how"
        return first, [token_ids()[changed] if token == token_ids()[q] else token for token in first]
    changes = {
        "persona": {"persona": "sailor" if question in ("maker", "series") else "assistant"},
        "self": {"own": "operator"},
        "stakes": {"cue": "peace"},
        "binding": {"bind": "the"},
        "topic": {"topic": other},
        "step": {"step": "serve"},
    }[variable]
    return first, prompt(**{"persona": persona, "topic": one, "q": q} | changes)


def log_odds(logits: Tensor, question: str) -> np.ndarray:
    """[row] from logits [row, d_vocab]."""
    p = logits.double().softmax(-1)
    first, second = (p[:, [token_ids()[text] for text in ANSWERS[side]]].sum(-1) for side in SIDES[question])
    return (first / second).log().numpy()


def entrance(hf: PreTrainedModel, index: int) -> tuple[nn.Module, str]:
    """The module at which residual index 0 … n_layers can be seen, and which end of it."""
    layers = hf.model.layers
    return (layers[index], "in") if index < len(layers) else (layers[-1], "out")


@torch.no_grad()
def run(hf: PreTrainedModel, ids: list[list[int]]) -> Tensor:
    """[row, d_vocab] at the last token."""
    return hf(torch.tensor(ids), use_cache=False).logits[:, -1]


def stream(hf: PreTrainedModel, ids: list[int]) -> Tensor:
    """[residual index 0 … n_layers, token, d_model] of one prompt."""
    heard: list[Tensor] = []

    def hear(x: Tensor) -> Tensor:
        heard.append(x[0].clone())
        return x

    with ExitStack() as stack:
        for index in range(len(hf.model.layers) + 1):
            stack.enter_context(hooked(*entrance(hf, index), hear))
        run(hf, [ids])
    return torch.stack(heard)


def brute(hf: PreTrainedModel, source: list[int], target: list[int], question: str) -> np.ndarray:
    """[residual index 0 … n_layers, token] log odds of the target with the source's stream at one token."""
    tokens, donor = torch.arange(len(target)), stream(hf, source)

    def changing(index: int) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            x = x.clone()
            x[index * len(target) + tokens, tokens] = donor[index]  # each cell has a row of its own
            return x

        return change

    with ExitStack() as stack:
        for index in range(len(donor)):
            stack.enter_context(hooked(*entrance(hf, index), changing(index)))
        patched = log_odds(run(hf, [target] * (len(donor) * len(target))), question)
    return patched.reshape(len(donor), len(target))


def moved(
    hf: PreTrainedModel, index: int, token: int, source: list[int], target: list[int], rows: np.ndarray, question: str
) -> float:
    """Transfer of patching one subspace [dimension, d_model] of one cell."""
    basis = torch.from_numpy(rows).float()
    there, here = log_odds(run(hf, [source, target]), question)
    move = (stream(hf, source) - stream(hf, target))[index, token] @ basis.T @ basis

    def change(x: Tensor) -> Tensor:
        x = x.clone()
        x[0, token] += move
        return x

    with hooked(*entrance(hf, index), change):
        return float((log_odds(run(hf, [target]), question)[0] - here) / (there - here))


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """The chance that a true cell scores higher than a false one; ties count half."""
    n, positive = truth.size, int(truth.sum())
    ranks = rankdata(score.ravel())
    return float((ranks[truth.ravel()].sum() - positive * (positive + 1) / 2) / (positive * (n - positive)))
