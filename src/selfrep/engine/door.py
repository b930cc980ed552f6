"""What is checked before anything is run: token ids against the vocabulary, lengths against the window.

An id or a position beyond a table is an IndexError on a CPU and the end of the process on a GPU; a prompt longer than
any the model was made for has numbers that mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel


def require_prompts(lm: LanguageModel, prompts: Iterable[Sequence[int] | np.ndarray]) -> None:
    """Raise SelfrepError for prompts that the model cannot read.

    Args:
        prompts: token ids of each; −1 is padding.

    Example:
        >>> from selfrep.models.loading import load_model
        >>> require_prompts(load_model("organism:separate"), [[3, 1, 4], [1, 5, 999]])
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: A token id of organism:separate is one of 0 … 178; a prompt has 999.
    """
    window = lm.window
    for prompt in prompts:
        ids = np.asarray(prompt)
        ids = ids[ids != -1]
        if (wrong := ids[(ids < 0) | (ids >= lm.d_vocab)]).size:
            raise SelfrepError(
                f"A token id of {lm.name} is one of 0 … {lm.d_vocab - 1}; a prompt has {int(wrong[0])}."
                + _if_resized(lm, int(wrong[0]))
            )
        if window is not None and len(ids) > window:
            raise SelfrepError(
                f"A prompt of {lm.name} has at most {window} tokens (max_position_embeddings of its configuration); "
                f"got one of {len(ids)}. Shorten it, or take a model with a longer window."
            )


def require_answers(lm: LanguageModel, answers: np.ndarray, metric: str = "") -> None:
    """Raise SelfrepError for answers that the model has no logits for.

    Args:
        answers: [pair, side, k] token ids, −1 where a side has fewer than the longest; metric: who reads them.

    Example:
        >>> from selfrep.models.loading import load_model
        >>> require_answers(load_model("organism:separate"), np.array([[[5], [-3]]]), "logit_difference")
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: logit_difference reads logits of tokens 0 … 178 of organism:separate; got -3.
    """
    present = answers[answers != -1]
    require_logits(lm, present, metric)
    if answers.size and not (answers >= 0).any(axis=-1).all():
        raise SelfrepError(f"{metric or 'An answer set'} needs a token on each side; a side has none.")


def require_logits(lm: LanguageModel, tokens: Iterable[int] | np.ndarray, metric: str = "") -> None:
    """Raise SelfrepError for vocabulary ids that the model has no logits for; `metric` is who reads them.

    Example:
        >>> from selfrep.models.loading import load_model
        >>> require_logits(load_model("organism:separate"), [0, 178])
    """
    ids, n = np.asarray(list(tokens), dtype=np.int64), lm.n_logits
    if (wrong := ids[(ids < 0) | (ids >= n)]).size:
        raise SelfrepError(
            f"{metric or 'A metric'} reads logits of tokens 0 … {n - 1} of {lm.name}; got {int(wrong[0])}."
            + _if_resized(lm, int(wrong[0]))
        )


def _if_resized(lm: LanguageModel, token: int) -> str:
    known = 0 if lm.tokenizer is None else len(lm.tokenizer)
    if not 0 <= token < known:
        return ""
    return f" Its tokenizer has {known} tokens: after adding some, call model.resize_token_embeddings({known})."
