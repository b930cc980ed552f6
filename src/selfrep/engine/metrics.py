"""What a run is asked for: a number from the logits at a few positions, for a few tokens.

A metric says beforehand which vocabulary rows it reads, so that only those rows of the unembedding are ever multiplied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.alignment import AlignedBatch


@dataclass(frozen=True)
class Metric:
    """A number read off the logits at the last position.

    Attributes:
        name: as it appears in results.
        answers: the pairs → token ids [pair, side, k], −1 where a side has fewer answers than the longest.

    Its value is logsumexp(logits of side 0) − logsumexp(logits of side 1), in nats: the log odds of one answer set
    against the other, and with one answer a side the logit difference.
    """

    name: str
    answers: Callable[[AlignedBatch], np.ndarray]


def _answers_of_the_items(batch: AlignedBatch) -> np.ndarray:
    if not batch.items:
        raise SelfrepError(
            "answer_log_odds reads the answers of prompts; for token ids give logit_difference(first, second)."
        )
    return batch.answer_ids[batch.item_index]


answer_log_odds = Metric("answer_log_odds", _answers_of_the_items)
"""Log odds of each item's first answer set against its second, at the first answer position (nats)."""


def logit_difference(first: int | Tensor, second: int | Tensor) -> Metric:
    """Logit of one token minus another's, at the last position.

    Args:
        first, second: a token id for all pairs, or [pair] one for each.
    """

    def answers(batch: AlignedBatch) -> np.ndarray:
        n = len(batch.target_ids)
        sides = [np.asarray(side, dtype=np.int64).reshape(-1) for side in (first, second)]
        if any(len(side) not in (1, n) for side in sides):
            raise SelfrepError(
                f"logit_difference takes one token, or one for each of the {n} pairs; got {[len(s) for s in sides]}."
            )
        return np.stack([np.broadcast_to(side, n) for side in sides], axis=1)[:, :, None]

    return Metric("logit_difference", answers)


def reader(lm: LanguageModel, answers: np.ndarray) -> Callable[[Tensor], Tensor]:
    """Compile a metric for a batch.

    Args:
        answers: [pair, side, k] token ids, −1 padded.

    Returns:
        residual streams after the last block [..., pair, d_model] → values [..., pair], float32.
    """
    ids = torch.as_tensor(answers, device=lm.device)
    rows, places = torch.unique(ids.clamp(min=0), return_inverse=True)
    absent = ids < 0
    pair = torch.arange(len(ids), device=lm.device)[:, None, None]

    def read(residual: Tensor) -> Tensor:
        logits = lm.logits(residual, rows)[..., pair, places].masked_fill(absent, -torch.inf)
        odds = logits.logsumexp(-1)
        return odds[..., 0] - odds[..., 1]

    return read


def answer_mass(lm: LanguageModel, residual: Tensor, answers: np.ndarray) -> Tensor:
    """The probability that the next token is any of the answers: [pair, d_model], [pair, side, k] → [pair], 0 … 1.

    Raises:
        SelfrepError: the model's logits are not finite.
    """
    logits = lm.logits(residual)
    if not bool(torch.isfinite(logits).all()):
        raise SelfrepError(
            f"A model's logits are finite numbers; {lm.name} gives NaN or infinite ones in {lm.dtype}. Its weights are "
            "broken, or half precision overflows: try --dtype float32 or bfloat16."
        )
    ids = torch.as_tensor(answers, device=lm.device).flatten(1)
    chosen = logits.log_softmax(-1).gather(1, ids.clamp(min=0)).exp()
    return chosen.masked_fill(ids < 0, 0.0).sum(-1)
