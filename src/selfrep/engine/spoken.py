"""What is kept while a model speaks: its tokens, how probable they were, and what passed at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr
from torch import Tensor

from selfrep.engine.capture import read_answers
from selfrep.engine.during import SAID
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.arguments import Several


@dataclass(frozen=True)
class Keep:
    """Which activations are kept while a model speaks.

    Fields:
        sites, layers: as in `selfrep.capture`.
        by: "token": at every token of the answer; "answer": their mean, as persona vectors take it (the token that ends
            an answer is not part of it).

    Example:
        >>> Keep("resid_post", layers=[4, 5], by="answer").by
        'answer'
    """

    sites: Several[str] = "resid_post"
    layers: Several[int] | None = None
    by: Literal["token", "answer"] = "token"

    def __post_init__(self) -> None:
        if self.by not in ("token", "answer"):
            raise SelfrepError(f"Activations are kept by 'token' or by 'answer'; got {self.by!r}.")


class Answers:
    """What was said, as far as it has come.

    Attributes:
        ends: the tokens that end an answer.
        tokens, log_prob: [prompt, step]; ended: [prompt] whether it came to its end by itself.
        scores: [2, prompt] log odds and mass of the answers of a prompt, where it has any.
    """

    def __init__(
        self, lm: LanguageModel, n: int, max_tokens: int, keep: Keep | None, sites: list[str], layers: list[int]
    ) -> None:
        self.lm, self.keep, self.sites, self.layers = lm, keep, sites, layers
        self.ends = ends_of(lm)
        self.tokens = np.full((n, max_tokens), -1)
        self.log_prob = np.full((n, max_tokens), np.nan, dtype=np.float32)
        self.ended = np.zeros(n, dtype=bool)
        self.scores = np.full((2, n), np.nan)
        if keep is not None:
            shape = (n, len(sites), len(layers), lm.d_model)
            self.before = np.full(shape, np.nan, dtype=np.float32)
            steps = (max_tokens,) if keep.by == "token" else ()
            self.activations = np.full((*shape[:3], *steps, lm.d_model), np.nan, dtype=np.float32)
            self._sum = np.zeros(shape, dtype=np.float64)
            self._n = np.zeros(n, dtype=int)

    def said(self, rows: np.ndarray, step: int, tokens: np.ndarray, log_prob: np.ndarray, end: np.ndarray) -> None:
        """Each row's token of a step; −1 for those that had come to their end."""
        self.tokens[rows, step], self.log_prob[rows, step] = tokens, np.where(tokens >= 0, log_prob, np.nan)
        self.ended[rows] |= end

    def asked(self, rows: np.ndarray, logits: Tensor, answers: np.ndarray) -> None:
        """What logits [row, d_vocab] of the first token say of the answers [row, side, k]."""
        if (answers >= 0).any():
            self.scores[:, rows] = read_answers(self.lm, logits, answers)

    def passed(self, rows: np.ndarray, step: int, values: np.ndarray) -> None:
        """What passed [row, site, layer, d_model] at the token of a step; −1: the last one of the prompt."""
        if self.keep is None:
            return
        if step < 0:
            self.before[rows] = values
            return
        there = self.tokens[rows, step] >= 0
        if self.keep.by == "token":
            self.activations[rows[there], :, :, step] = values[there]
            return
        words = there & ~np.isin(self.tokens[rows, step], list(self.ends))
        self._sum[rows[words]] += values[words]
        self._n[rows[words]] += 1

    def dataset(self) -> xr.Dataset:
        """All of it."""
        words = [[int(t) for t in row if t >= 0 and int(t) not in self.ends] for row in self.tokens]
        texts = [self.lm.tokenizer.decode(row, skip_special_tokens=True) for row in words]
        out = xr.Dataset(
            {
                "tokens": (("prompt", "step"), self.tokens),
                "log_prob": (("prompt", "step"), self.log_prob),
                "text": ("prompt", np.array(texts, dtype=str)),
                "ended": ("prompt", self.ended),
            }
        )
        if np.isfinite(self.scores).any():
            out = out.assign(log_odds=("prompt", self.scores[0]), answer_mass=("prompt", self.scores[1]))
        if self.keep is None:
            return out
        dims = ("prompt", "site", "layer", "d_model")
        coords = {"site": self.sites, "layer": self.layers}
        if self.keep.by == "token":
            by_token = (*dims[:3], "step", "d_model")
            kept = {"activations": (by_token, self.activations), SAID: (dims, self.before)}
            return out.assign(kept).assign_coords(coords)
        n = self._n[:, None, None, None]
        mean = np.divide(self._sum, n, out=np.full_like(self._sum, np.nan), where=n > 0)
        return out.assign(activations=(dims, mean.astype(np.float32))).assign_coords(coords)


def ends_of(lm: LanguageModel) -> frozenset[int]:
    """The tokens that end an answer: those of the model's generation configuration, or of its tokenizer."""
    said = getattr(getattr(lm.hf, "generation_config", None), "eos_token_id", None)
    if said is None:
        said = getattr(lm.tokenizer, "eos_token_id", None)
    return frozenset() if said is None else frozenset(int(t) for t in np.atleast_1d(said))
