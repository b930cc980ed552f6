"""What a run is asked for: a number from the logits at a few positions, for a few tokens.

A metric says beforehand which positions and which vocabulary rows it reads, so that nothing else is ever unembedded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.alignment import AlignedBatch
from selfrep.prompts.shown import shown

Run = Literal["source", "target"]
UnpatchedLogits = Callable[[Run, Sequence[int]], Tensor]
"""Logits of the unpatched source or target runs at positions from the end: [pair, position, d_vocab], float32."""


@dataclass(frozen=True)
class Reading:
    """A metric, compiled for a batch of pairs.

    Attributes:
        positions: where logits are read, counted from the end (−1 is the last token).
        tokens: [k] the vocabulary ids that are read; all when None.
        value: logits [..., pair, position, k or d_vocab] in float32 → [..., pair].
    """

    positions: tuple[int, ...]
    tokens: Tensor | None
    value: Callable[[Tensor], Tensor]


@shown(lambda self: {"name": self.name})
@dataclass(frozen=True)
class Metric:
    """A number read off the logits of a run: the log odds of two answer sets, or whatever else it prepares.

    Attributes:
        name: as it appears in results.
        answers: all pairs of a call → their answer sets, token ids [pair, side, k], −1 where a side has fewer than the
            longest; they are kept with the results.
        prepare: for any other metric: compiles it for a batch of those pairs, on a device.
        tokens: the vocabulary ids it reads, where it names them.

    Example:
        >>> import selfrep as sr
        >>> sr.answer_log_odds
        Metric(name='answer_log_odds')
    """

    name: str
    answers: Callable[[AlignedBatch], np.ndarray] | None = None
    prepare: Callable[[AlignedBatch, UnpatchedLogits, torch.device], Reading] | None = None
    tokens: tuple[int, ...] | None = None


if TYPE_CHECKING:
    Metrics: TypeAlias = Metric | Callable[[Tensor], Tensor] | Iterable[Metric | Callable[[Tensor], Tensor]]
else:  # at run time anything: `as_metrics` refuses what is wrong, and says more
    Metrics = Any
"""One metric, or several for the price of one sweep; a metric may be a plain function (see `as_metrics`)."""


def as_metrics(metric: Metrics) -> tuple[Metric, ...]:
    """One metric, or several, as a tuple.

    A plain function is one too: it gets the logits of the last token, [row, 1, vocabulary] in float32, and returns one
    number for each row, e.g. `lambda logits: logits[:, -1, 42]`. One that reads other positions, or few tokens of a
    large vocabulary, is made by `logit_metric`.

    Raises:
        SelfrepError: anything else; a function that makes a metric and was not called.
    """
    given: Any = metric
    several = isinstance(given, Iterable) and not isinstance(given, str)
    return tuple(_as_metric(one) for one in (given if several else (given,)))


def _as_metric(metric: Any) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if any(metric is maker for maker in (logit_difference, sequence_log_prob, kl_divergence, logit_metric)):
        needed = [p.name for p in inspect.signature(metric).parameters.values() if p.default is p.empty]
        if needed:
            name = metric.__name__
            raise SelfrepError(f"sr.{name} makes a metric when it is called: sr.{name}({', '.join(needed)}).")
        return metric()
    if not callable(metric) or isinstance(metric, type):
        raise SelfrepError(
            "A metric is sr.answer_log_odds, sr.logit_difference(first, second), sr.kl_divergence(), "
            "sr.sequence_log_prob(), or a function from logits [row, token, vocabulary] to a number per row; got "
            f"{arguments.described(metric)}."
        )
    name = getattr(metric, "__name__", type(metric).__name__)
    return logit_metric("function" if name == "<lambda>" else name, _by_row(metric))


def _by_row(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A function of logits [row, token, vocabulary], for any number of leading dimensions."""
    rule = (
        "A function as a metric gets the logits of the last token, [row, 1, vocabulary], and returns a number for each "
        "row, e.g. lambda logits: logits[:, -1, 42]; for other positions use sr.logit_metric(name, function, positions)"
    )

    def read_rows(logits: Tensor) -> Tensor:
        rows = logits.flatten(0, -3)
        try:
            values = function(rows)
        except IndexError as error:
            raise SelfrepError(f"{rule}. It failed on logits {list(rows.shape)}: {error}.") from error
        if not isinstance(values, Tensor) or values.shape != rows.shape[:1]:
            got = list(values.shape) if isinstance(values, Tensor) else arguments.described(values)
            raise SelfrepError(f"{rule}. Given logits {list(rows.shape)} it returned {got}.")
        return values.unflatten(0, logits.shape[:-2])

    return read_rows


def compile_metric(
    metric: Metric, batch: AlignedBatch, answers: np.ndarray | None, unpatched: UnpatchedLogits, device: torch.device
) -> Reading:
    """The metric for a batch; `answers` are those of these pairs, for a metric that has them."""
    if metric.prepare is not None:
        return metric.prepare(batch, unpatched, device)
    if answers is None:
        raise SelfrepError(f"A metric has answers, or prepares a reading; {metric.name!r} does neither.")
    return log_odds(answers, device)


def log_odds(answers: np.ndarray, device: torch.device) -> Reading:
    """Log odds of answer set 0 against 1 at the last token: logsumexp(logits of 0) − logsumexp(logits of 1), in nats.

    Args:
        answers: [pair, side, k] token ids, −1 padded.
    """
    unique, index = np.unique(np.maximum(answers, 0), return_inverse=True)  # on the device it would be waited for
    rows, places = (torch.as_tensor(x, device=device) for x in (unique, index.reshape(answers.shape)))
    ids = torch.as_tensor(answers, device=device)
    absent = ids < 0
    pair = torch.arange(len(ids), device=device)[:, None, None]

    def value(logits: Tensor) -> Tensor:
        sides = logits[..., 0, :][..., pair, places].masked_fill(absent, -torch.inf).logsumexp(-1)
        return sides[..., 0] - sides[..., 1]

    return Reading((-1,), rows, value)


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

    Example:
        >>> logit_difference(260, 253)
        Metric(name='logit_difference')
    """
    given = [np.asarray(side, dtype=np.int64).reshape(-1) for side in (first, second)]

    def answers(batch: AlignedBatch) -> np.ndarray:
        n = len(batch.suffix)
        for side in given:
            if len(side) not in (1, n):
                raise SelfrepError(
                    f"logit_difference takes one token, or one for each of the {n} pairs; got {len(side)}."
                )
        return np.stack([np.broadcast_to(side, n) for side in given], axis=1)[:, :, None]

    return Metric("logit_difference", answers)


def sequence_log_prob(n_tokens: int | None = None) -> Metric:
    """Log-probability of an answer of several tokens, teacher-forced: both prompts already end with it (nats).

    The sum over its tokens of log p(token | everything before). Since the answer is part of both prompts, positions
    count from its last token.

    Args:
        n_tokens: how many tokens at the end are the answer. None: the tokens in the segment "answer" (see the
            `answer` of `selfrep.pair`), which may be a different number in each pair.

    Example:
        >>> sequence_log_prob(2)
        Metric(name='sequence_log_prob')
    """

    def prepare(batch: AlignedBatch, unpatched: UnpatchedLogits, device: torch.device) -> Reading:
        own = (batch.segments == "answer").sum(1)
        lengths = own if n_tokens is None else np.full_like(own, n_tokens)
        if lengths.min() < 1 or (lengths + 1 > (batch.target_ids >= 0).sum(1)).any():
            raise SelfrepError(
                f"sequence_log_prob reads the tokens of an answer, and there is one token before them; the answers "
                f"here have {sorted(set(lengths.tolist()))} tokens. Pass answer=... to pair, or n_tokens."
            )
        longest = int(lengths.max())
        answer = torch.as_tensor(batch.target_ids[:, -longest:].clip(min=0), device=device)
        inside = torch.as_tensor(np.arange(-longest, 0) >= -lengths[:, None], device=device)

        def value(logits: Tensor) -> Tensor:
            chosen = log_probs(logits, answer.expand(logits.shape[:-1])[..., None])[..., 0]
            return chosen.masked_fill(~inside, 0.0).sum(-1)

        return Reading(tuple(range(-longest - 1, -1)), None, value)

    return Metric("sequence_log_prob", prepare=prepare)


def kl_divergence(against: Run = "target", positions: Sequence[int] = (-1,)) -> Metric:
    """KL(p ‖ q) of the next-token distributions: p of the unpatched source or target, q of the patched run (nats).

    Args:
        against: whose unpatched run p is.
        positions: where, counted from the end; the mean over them.

    Raises:
        SelfrepError: another run, positions that do not count from the end.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> robot, nurse, item = people["robot"], people["nurse"], battery["who_are_you"]
        >>> pairs = sr.pair(lm, robot, nurse, item, paraphrases=0, directions="denoise")
        >>> effects = sr.patch(lm, pairs, sr.grid("resid_pre", layers=2, positions=-10), sr.kl_divergence("source"))
        >>> bool(effects.patched < 1e-3), bool(effects.target_metric > 1)  # the patch brings all of the source
        (True, True)
    """
    if against not in ("source", "target"):
        raise SelfrepError(f"kl_divergence is against 'source' or 'target'; got {against!r}.")
    where = _from_the_end(positions)

    def prepare(batch: AlignedBatch, unpatched: UnpatchedLogits, device: torch.device) -> Reading:
        log_p = unpatched(against, where).log_softmax(-1)

        def value(logits: Tensor) -> Tensor:
            return (log_p.exp() * (log_p - logits.log_softmax(-1))).sum(-1).mean(-1)

        return Reading(where, None, value)

    return Metric(f"kl_divergence from {against}", prepare=prepare)


def logit_metric(
    name: str,
    function: Callable[[Tensor], Tensor],
    positions: Sequence[int] = (-1,),
    tokens: Sequence[int] | None = None,
) -> Metric:
    """Any function of the logits at the positions it asks for.

    Args:
        name: as it appears in results.
        function: logits [..., pair, position, token] in float32 → [..., pair]; it must work on any number of leading
            dimensions, since many patched runs are read at once.
        positions: counted from the end.
        tokens: vocabulary ids, in the order that the function gets them; all when None, which costs the whole
            unembedding for each cell.

    Example:
        >>> logit_metric("first token", lambda logits: logits[..., 0, 0])
        Metric(name='first token')
    """
    where = _from_the_end(positions)

    def prepare(batch: AlignedBatch, unpatched: UnpatchedLogits, device: torch.device) -> Reading:
        return Reading(where, None if tokens is None else torch.as_tensor(tokens, device=device), function)

    return Metric(name, prepare=prepare, tokens=None if tokens is None else tuple(int(token) for token in tokens))


def answer_mass(lm: LanguageModel, logits: Tensor, answers: np.ndarray) -> Tensor:
    """The probability that the next token is any of the answers: [pair, d_vocab], [pair, side, k] → [pair], 0 … 1.

    Raises:
        SelfrepError: the model's logits are not finite.
    """
    require_finite(lm, logits)
    ids = torch.as_tensor(answers, device=logits.device).flatten(1)
    chosen = log_probs(logits, ids.clamp(min=0)).exp()
    return chosen.masked_fill(ids < 0, 0.0).sum(-1)


def log_probs(logits: Tensor, ids: Tensor) -> Tensor:
    """[..., d_vocab], [..., k] → [..., k] log p of these tokens: a table of all would be as large as the logits."""
    return logits.gather(-1, ids) - logits.logsumexp(-1, keepdim=True)


def require_finite(lm: LanguageModel, logits: Tensor) -> None:
    """Raise SelfrepError when a model's own logits are not numbers."""
    if not bool(torch.isfinite(logits).all()):
        raise SelfrepError(
            f"A model's logits are finite numbers; {lm.name} gives NaN or infinite ones in {lm.dtype}. Its weights are "
            "broken, or half precision overflows: try --dtype float32 or bfloat16."
        )


def _from_the_end(positions: Sequence[Any]) -> tuple[int, ...]:
    where = tuple(int(p) for p in positions)
    if not where or any(p >= 0 for p in where):
        raise SelfrepError(f"A metric reads positions counted from the end, −1 being the last token; got {where}.")
    return where
