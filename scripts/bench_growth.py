"""How the cost of a sweep grows: with positions, batch, length of the prompts, layers, width of the model.

    python scripts/bench_growth.py

Each line changes one thing about the same small sweep (`resid_pre`, 8 prompts of 64 tokens, the last 6 positions of all
layers) and prints its seconds, the least of several runs, and how many times those of the sweep itself that is; beside
it, the same ratio of multiply-adds: tokens pushed through blocks, as `selfrep.cost` predicts them, times the weights of
a block. The width is that of a randomly initialised model of the same shape otherwise, which costs the same arithmetic.
"""

from __future__ import annotations

import argparse
import copy
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch

import selfrep as sr
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import PromptPair
from selfrep.prompts.render import Tokens

SWEEP = {"batch": 8, "tokens": 64, "positions": 6, "layers": 30, "width": 1.0}
CHANGES = [
    {}, {"positions": 3}, {"positions": 12}, {"batch": 4}, {"batch": 16}, {"tokens": 32}, {"tokens": 128},
    {"layers": 15},  # the last 15
    {"width": 0.5}, {"width": 2.0},
]  # fmt: skip


def widened(lm: LanguageModel, by: float) -> LanguageModel:
    """A randomly initialised model as deep as this one and so many times as wide."""
    if by == 1:
        return lm
    config = copy.deepcopy(lm.hf.config)
    for name in ("hidden_size", "intermediate_size"):
        setattr(config, name, int(getattr(config, name) * by))
    config.head_dim = config.hidden_size // config.num_attention_heads
    torch.manual_seed(0)
    return sr.load_model(type(lm.hf)(config), device="cpu")


def random_pairs(rng: np.random.Generator, batch: int, tokens: int, shared: int) -> list[PromptPair]:
    """Pairs of prompts of random tokens, of which the last `shared` are the same in source and target."""

    def prompt(end: list[int]) -> Tokens:
        ids = (*rng.integers(1000, 40000, tokens - shared).tolist(), *end)
        segments = ("system",) * (tokens - shared) + ("question",) * shared
        return Tokens(ids, segments, tuple(map(str, ids)))

    def pair(end: list[int]) -> PromptPair:
        return PromptPair(prompt(end), prompt(end), "source", "target", "random", "denoise", ((198,), (271,)))

    return [pair(rng.integers(1000, 40000, shared).tolist()) for _ in range(batch)]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded", help="a name that selfrep.load_model takes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    whole, rng = sr.load_model(args.model, device="cpu"), np.random.default_rng(0)
    metric = sr.logit_difference(198, 271)
    first: tuple[float, float] | None = None
    print(f"{'sweep':32}{'seconds':>10}{'ratio':>8}{'G multiply-adds':>17}{'ratio':>8}")
    for change in CHANGES:
        sweep = SWEEP | change
        lm = widened(whole, sweep["width"])
        positions = int(sweep["positions"])
        pairs = random_pairs(rng, int(sweep["batch"]), int(sweep["tokens"]), positions)
        layers = range(lm.n_layers - min(int(sweep["layers"]), lm.n_layers), lm.n_layers)
        plan = sr.grid("resid_pre", positions=range(-positions, 0), layers=layers)
        weights = sum(w.numel() for w in lm.blocks[0].parameters() if w.ndim == 2)
        needed = sr.cost(lm, plan, pairs).token_blocks * weights / 1e9
        times = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            sr.patch(lm, pairs, plan, metric, check=False)
            times.append(time.perf_counter() - start)
        first = first or (min(times), needed)
        name = ", ".join(f"{key} {value}" for key, value in change.items()) or "the sweep itself"
        print(
            f"{name:32}{min(times):10.2f}{min(times) / first[0]:8.2f}{needed:17.0f}{needed / first[1]:8.2f}", flush=True
        )


if __name__ == "__main__":
    main()
