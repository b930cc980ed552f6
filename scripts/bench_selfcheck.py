"""In half precision, does the self-check tell mistakes from rounding? Sound sweeps it refuses, broken ones it passes.

    python scripts/bench_selfcheck.py                               # 200 sweeps: the embedded model, six tiny families
    python scripts/bench_selfcheck.py --sweeps 20 --models llama    # a trial

Each sweep has twelve cells, prompts and a seed of its own. It is run as it is, and with a mistake: where a patch is
written, the mask is shifted by one token; or attention's own mask is, so that a token sees the one after it. A line a
model: the seeds of the sound sweeps that were refused, and of the broken ones that were passed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import torch
from tests.tiny import CATCHING, tiny_hf, token_pair

import selfrep as sr
from selfrep.engine import selfcheck
from selfrep.engine.reference import Mismatch
from selfrep.engine.replay import schedule, walk
from selfrep.engine.replay.masks import Masks
from selfrep.models.language_model import LanguageModel
from selfrep.models.twins import NoTwin, in_float32
from selfrep.prompts.alignment import PromptPair

COSTS = schedule.CostModel((1, 8, 32, 128, 512), (1e-3, 1e-3, 1e-3, 2e-3, 8e-3))
"""What a chunk costs, made up: it decides how cells share walks, and measuring it takes a second a model."""


@contextmanager
def patches_late() -> Iterator[None]:
    """Within, what a patch writes lands one token late."""
    sound = walk._entering
    walk._entering = lambda base, runs, first: sound(
        base, [replace(run, mask=run.mask.roll(1, 1)) for run in runs], first
    )
    try:
        yield
    finally:
        walk._entering = sound


@contextmanager
def sees_the_next() -> Iterator[None]:
    """Within, each token attends to the one after it, too."""
    sound = Masks.own

    def shifted(*args: Any) -> torch.Tensor:
        hidden = sound(*args)
        return hidden & hidden.roll(-1, -2)

    Masks.own = shifted
    try:
        yield
    finally:
        Masks.own = sound


MISTAKES = {"patches one token late": patches_late, "attention one token ahead": sees_the_next}


def tiny_sweep(seed: int) -> tuple[list[PromptPair], sr.PatchPlan]:
    """Random tokens, and four positions in each of three layers."""
    rng = np.random.default_rng(seed)
    systems = rng.integers(3, 12, 2).tolist()
    return [token_pair(seed, systems=(systems[0], systems[1]), suffix=(2, 4, 2))], sr.grid(
        "resid_pre", positions=sorted(rng.choice(np.arange(-8, 0), 4, replace=False).tolist())
    )


def embedded_sweep(lm: LanguageModel, seed: int) -> tuple[list[PromptPair], sr.PatchPlan]:
    """Two personas and a question, and three positions in each of four layers."""
    rng = np.random.default_rng(seed)
    people, items = list(sr.personas.builtin()), list(sr.battery.builtin())
    source, target = (people[i] for i in rng.choice(len(people), 2, replace=False))
    item = items[rng.integers(len(items))]
    pairs = sr.pair(lm, source, target, [item], paraphrases=[0], directions=("denoise",))
    layers = sorted(rng.choice(lm.n_layers, 4, replace=False).tolist())
    return list(pairs), sr.grid(
        "resid_pre", layers=layers, positions=sorted(rng.choice(np.arange(-12, 0), 3, replace=False).tolist())
    )


def alarm(lm: LanguageModel, pairs: list[PromptPair], plan: sr.PatchPlan, seed: int) -> bool:
    """Whether the sweep is refused."""
    selfcheck._results.clear()
    try:
        sr.patch(lm, pairs, plan, seed=seed)
        return False
    except Mismatch:
        return True


def twin(lm: LanguageModel) -> LanguageModel:
    """The model in float32."""
    return _priced(in_float32(lm))


def no_twin(lm: LanguageModel) -> LanguageModel:
    """As if there were no room for it."""
    raise NoTwin("There is no room.")


def _priced(lm: LanguageModel) -> LanguageModel:
    schedule._models[lm.hf] = COSTS
    return lm


def main() -> None:
    """Run the sweeps, and print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("--models", default="embedded," + ",".join(CATCHING))
    parser.add_argument("--mistakes", default=",".join(MISTAKES))
    parser.add_argument("--no-float32", action="store_true", help="as where there is no room for a twin in float32")
    arguments = parser.parse_args()
    selfcheck.in_float32 = no_twin if arguments.no_float32 else twin
    warnings.simplefilter("ignore")
    for name in arguments.models.split(","):
        if name == "embedded":
            lm = sr.load_model(dtype=arguments.dtype)
        else:
            lm = sr.load_model(tiny_hf(name).to(getattr(torch, arguments.dtype)))
        _priced(lm)
        start, refused = time.perf_counter(), []
        passed: dict[str, list[int]] = {mistake: [] for mistake in arguments.mistakes.split(",") if mistake}
        for seed in range(arguments.first, arguments.first + arguments.sweeps):
            pairs, plan = embedded_sweep(lm, seed) if name == "embedded" else tiny_sweep(seed)
            if alarm(lm, pairs, plan, seed):
                refused.append(seed)
            for mistake, seeds in passed.items():
                with MISTAKES[mistake]():
                    if not alarm(lm, pairs, plan, seed):
                        seeds.append(seed)
        print(
            f"{name}, {arguments.dtype}: {arguments.sweeps} sweeps, refused although sound {refused}; passed although "
            f"broken {passed}; {time.perf_counter() - start:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
