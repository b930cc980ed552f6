"""The slow, plain way to compute a cell: one hooked forward pass of the untouched Hugging Face model.

It shares nothing with the replay but the table of modules, which makes it the judge of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from selfrep.engine.hooks import listen, replace
from selfrep.models.language_model import LanguageModel

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
"""How far fast numbers may be from plain ones, relative to max(1, |plain|)."""


@torch.no_grad()
def logits(lm: LanguageModel, ids: np.ndarray) -> Tensor:
    """[d_vocab] at the last token, float32; ids [token] may hold −1 as padding."""
    tokens = torch.as_tensor(ids[ids >= 0], device=lm.device)[None]
    return lm.hf(tokens, use_cache=False).logits[0, -1].float()


def metric_of(lm: LanguageModel, ids: np.ndarray, answers: np.ndarray) -> float:
    """Log odds of answer set 0 against 1 at the last token; ids [token], answers [side, k], −1 is padding."""
    last = logits(lm, ids)
    first, second = (last[torch.as_tensor(side[side >= 0], device=lm.device)].logsumexp(0) for side in answers)
    return float(first - second)


@torch.no_grad()
def activation(lm: LanguageModel, ids: np.ndarray, site: str, layer: int) -> Tensor:
    """[token, d_model] at a site of an unpatched run."""
    heard: list[Tensor] = []
    module, tap = lm.tap(site, layer)
    remove = listen(module, tap.end, heard.append)
    try:
        lm.hf(torch.as_tensor(ids[ids >= 0], device=lm.device)[None], use_cache=False)
    finally:
        remove()
    return heard[0][0]


@contextmanager
def patched(lm: LanguageModel, site: str, layer: int, positions: list[int], values: Tensor) -> Iterator[None]:
    """Within, every pass of one row writes `values` [position, d_model] at those positions (counted from the end).

    What enters a norm also goes past it: `resid_mid` is written in place, as TransformerLens does, so that the whole
    stream is changed and not only what the MLP reads.
    """

    def change(x: Tensor) -> Tensor:
        x = x if site == "resid_mid" else x.clone()
        x[:, positions] = values
        return x

    module, tap = lm.tap(site, layer)
    remove: Callable[[], None] = replace(module, tap.end, change)
    try:
        yield
    finally:
        remove()


def cell(
    lm: LanguageModel,
    source: np.ndarray,
    target: np.ndarray,
    answers: np.ndarray,
    site: str,
    layer: int,
    positions: list[int],
) -> float:
    """The metric of the target's run with the source's activations at `positions`, counted from the end.

    Args:
        source, target: [token] ids, −1 padded; answers: [side, k] ids, −1 padded.
    """
    values = activation(lm, source, site, layer)[positions]
    with patched(lm, site, layer, positions, values):
        return metric_of(lm, target, answers)
