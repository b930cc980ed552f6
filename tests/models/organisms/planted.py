"""Prompts for organisms by token, and a brute-force map of what patching does: plain hooks, one forward pass a row.

Nothing here uses selfrep's engine or its table of sites.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import torch
from scipy.stats import rankdata
from tests.tiny import hooked
from torch import Tensor, nn
from transformers import PreTrainedModel

from selfrep.models.organisms.lexicon import ANSWERS, token_ids

WORD = {"in_character": "who", "spectator": "what", "behaviour": "how"}
SIDES = {
    "in_character": ("ai", "human"),
    "spectator": ("ai", "human"),
    "behaviour": ("resist", "comply"),
}


def prompt(persona: str = "nurse", *, bind: str = "you", own: str = "<self>", cue: str = "danger", q: str) -> list[int]:
    """BOS SELF BIND fill fill PER fill END USR fill CUE fill Q fill fill fill ASST, with one word for each role."""
    text = f"<bos> {own} {bind} are a {persona} . <end> <usr> in {cue} , {q} is this ? <asst>"
    return [token_ids()[word] for word in text.split()]


def contrast(variable: str, question: str) -> tuple[list[int], list[int]]:
    """Two prompts that differ in one word, that of `variable`; the first has a word in every role."""
    q = WORD[question]
    persona = "overlord" if question == "behaviour" else "nurse"
    first = prompt(persona, q=q)
    second = {
        "persona": prompt("assistant", q=q),
        "self": prompt(persona, own="operator", q=q),
        "question": prompt(persona, q="who" if q == "how" else "how"),
        "stakes": prompt(persona, cue="peace", q=q),
        "binding": prompt(persona, bind="the", q=q),
    }[variable]
    return first, second


def log_odds(logits: Tensor, question: str) -> np.ndarray:
    """[row] from logits [row, d_vocab]."""
    p = logits.double().softmax(-1)
    first, second = (p[:, [token_ids()[text] for text in ANSWERS[side]]].sum(-1) for side in SIDES[question])
    return (first / second).log().numpy()


def entrance(hf: PreTrainedModel, index: int) -> tuple[nn.Module, str]:
    """The module at which residual index 0 … 6 can be seen, and which end of it."""
    return (hf.model.layers[index], "in") if index < 6 else (hf.model.layers[5], "out")


@torch.no_grad()
def run(hf: PreTrainedModel, ids: list[list[int]]) -> Tensor:
    """[row, d_vocab] at the last token."""
    return hf(torch.tensor(ids), use_cache=False).logits[:, -1]


def stream(hf: PreTrainedModel, ids: list[int]) -> Tensor:
    """[residual index 0 … 6, token, d_model] of one prompt."""
    heard: list[Tensor] = []

    def hear(x: Tensor) -> Tensor:
        heard.append(x[0].clone())
        return x

    with ExitStack() as stack:
        for index in range(7):
            stack.enter_context(hooked(*entrance(hf, index), hear))
        run(hf, [ids])
    return torch.stack(heard)


def brute(hf: PreTrainedModel, source: list[int], target: list[int], question: str) -> np.ndarray:
    """[residual index 0 … 6, token] log odds of the target with the source's stream at one token."""
    rows = torch.arange(len(target))
    out = []
    for index, values in enumerate(stream(hf, source)):

        def change(x: Tensor, values: Tensor = values) -> Tensor:
            x = x.clone()
            x[rows, rows] = values
            return x

        with hooked(*entrance(hf, index), change):
            out.append(log_odds(run(hf, [target] * len(target)), question))
    return np.array(out)


def auroc(score: np.ndarray, truth: np.ndarray) -> float:
    """The chance that a true cell scores higher than a false one; ties count half."""
    n, positive = truth.size, int(truth.sum())
    ranks = rankdata(score.ravel())
    return float((ranks[truth.ravel()].sum() - positive * (positive + 1) / 2) / (positive * (n - positive)))
