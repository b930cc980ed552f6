"""When two computations of the same number agree: a judge of logic, not of rounding.

In float32 that is a fixed tolerance. In half precision it depends on the model: each block rounds the residual stream
to eight bits (eleven in float16), and thirty blocks make of it whatever they make. So the noise is measured: the same
plain pass once more, with what leaves each block rounded anew. (That a pass in a batch rounds otherwise than alone is
part of it; by itself it would tell too little, since the products of many processors do not depend on the batch.)
Numbers that are further apart than this noise explains are computed again in float32 before anything is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from selfrep.engine import hooks, reference
from selfrep.engine.sweep import PatchSweep
from selfrep.models.language_model import LanguageModel

TOLERANCE = 1e-4
"""In float32, how far a number may be from the one that it should be, relative to max(1, |number|)."""
DRAWS = 2
"""How many times each number is computed again with other rounding."""
FACTOR = 4.0
"""In half precision, how many times the noise a number may be off, in the root mean square over all that are compared.
Sixteen cells of SmolLM2 and of six tiny families were .7 to 1.9 times it."""


def agree(values: np.ndarray, wanted: np.ndarray, noise: np.ndarray | None = None) -> bool:
    """Whether numbers are those that they should be; NaN is not.

    Args:
        values, wanted: [case, metric].
        noise: [metric] root mean square of what rounding does to a number; None in float32.

    Example:
        >>> wanted = np.array([[2.0], [-1.0]])
        >>> agree(wanted + 1e-3, wanted), agree(wanted + 1e-3, wanted, noise=np.array([1e-3]))
        (False, True)
    """
    off, exact = np.abs(values - wanted), TOLERANCE * np.maximum(1.0, np.abs(wanted))
    if noise is None:
        return bool((off <= exact).all())
    return bool((root_mean_square(off) <= FACTOR * noise + root_mean_square(exact)).all())


def rounding_draws(lm: LanguageModel, compute: Callable[[], np.ndarray], own: np.ndarray) -> np.ndarray:
    """What rounding does to numbers: how far they are off when the model rounds anew, [draw, metric].

    Args:
        compute: the numbers [metric], from plain passes of the model; own: what it gave.
    """
    out = []
    for draw in range(DRAWS):
        with rounded_anew(lm, seed=draw):
            out.append(compute() - own)
    return np.stack(out)


def unpatched_draws(lm: LanguageModel, sweep: PatchSweep, most: int = 3) -> np.ndarray:
    """What rounding does to the metrics of the sweep's first targets, unpatched: [draw, metric]."""
    draws = []
    for row in range(min(most, len(sweep))):
        pair = sweep.rows([row])
        ids, readings = pair.batch.target_ids[0], reference.readings_of(lm, pair)
        compute = partial(reference.read, readings, partial(reference.logits, lm, ids))
        draws.append(rounding_draws(lm, compute, compute()))
    return np.concatenate(draws)


@contextmanager
def rounded_anew(lm: LanguageModel, seed: int) -> Iterator[None]:
    """Within, each number that leaves a block is moved by up to half a step of the model's precision, then rounded."""
    step = torch.finfo(lm.dtype).eps
    generators: dict[torch.device, torch.Generator] = {}

    def move(x: Tensor) -> Tensor:
        if x.device not in generators:
            generators[x.device] = torch.Generator(x.device).manual_seed(seed)
        by = torch.rand(x.shape, generator=generators[x.device], device=x.device) - 0.5
        return (x.float() * (1 + step * by)).to(x.dtype)

    with ExitStack() as stack:
        for block in lm.blocks:
            stack.enter_context(hooks.replacing(block, "out", move))
        yield


def root_mean_square(x: np.ndarray) -> np.ndarray:
    """[case, metric] → [metric].

    Example:
        >>> root_mean_square(np.array([[3.0], [-4.0]])).round(2).tolist()
        [3.54]
    """
    return np.sqrt((x**2).mean(axis=0))
