"""TransformerLens metrics for the engine: their argument, their return value, and the positions that they read.

TransformerLens passes a metric all logits of a run, [batch, pos, d_vocab]. Computing them is half the work of a small
model, and most metrics read one position. A metric that names its positions (`reads`) gets the same shape with NaN
everywhere else. If it reads more than it names, it returns NaN, and is refused before the sweep begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from selfrep.engine.metrics import Reading
from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel

MetricFn = Callable[[Tensor], Any]
"""Logits [batch, pos, d_vocab] → a scalar, or [batch]."""
Rule = Callable[[Tensor], Tensor]
"""The same, checked: always → [batch]."""


@dataclass(frozen=True)
class View:
    """The logits that a metric gets: those at the positions it reads, and NaN elsewhere.

    Attributes:
        n_tokens: the length of the prompts; positions: those that are read, counted from the end.

    Example:
        >>> View(3, (-1,))(torch.ones(1, 1, 2))[0, :, 0].tolist()
        [nan, nan, 1.0]
    """

    n_tokens: int
    positions: tuple[int, ...]
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def whole(self) -> bool:
        """Whether all positions are read."""
        return len(self.positions) == self.n_tokens

    def __call__(self, read: Tensor) -> Tensor:
        """[batch, position that is read, d_vocab] → [batch, pos, d_vocab]; valid until the next call.

        The NaN are written once, and again only after a metric has written to what it was handed.
        """
        if self.whole:
            return read
        canvas = self._kept.get("canvas")
        if canvas is None or _written(canvas) != self._kept["written"]:
            canvas = self._kept["canvas"] = read.new_full((len(read), self.n_tokens, read.shape[-1]), torch.nan)
        canvas[:, list(self.positions)] = read
        self._kept["written"] = _written(canvas)
        return canvas


def _written(x: Tensor) -> object:
    """How many times a tensor has been written to; a new object where torch does not count (`inference_mode`)."""
    return object() if x.is_inference() else x._version


def view(reads: Sequence[int] | None, n_tokens: int) -> View:
    """The view of a metric that reads at these positions, from the end or from the start; None means all of them.

    Raises:
        SelfrepError: no position, or one that the prompts do not have.

    Example:
        >>> view([-1, 0], 4).positions
        (-4, -1)
    """
    if reads is None:
        return View(n_tokens, tuple(range(-n_tokens, 0)))
    if not len(reads) or any(not -n_tokens <= p < n_tokens for p in reads):
        raise SelfrepError(
            f"A metric reads at one position or more of −{n_tokens} … {n_tokens - 1}; got reads={tuple(reads)}."
        )
    return View(n_tokens, tuple(sorted({p - n_tokens if p >= 0 else p for p in reads})))


def rule(metric: MetricFn, name: str, n_rows: int, reduce: str) -> Rule:
    """A metric with a check of its return value under `reduce`; a scalar is repeated over the batch.

    Args:
        metric: logits [batch, pos, d_vocab] → scalar or [batch]; name: for the error; n_rows: size of the batch.
        reduce: "scalar", "mean" or "none".

    Returns:
        logits → [batch], float32. It raises SelfrepError when the metric returns another shape.

    Example:
        >>> first = rule(lambda logits: logits[:, -1, 0], "first", 2, "mean")
        >>> first(torch.zeros(2, 3, 5)).tolist()
        [0.0, 0.0]
    """

    def value(logits: Tensor) -> Tensor:
        out = torch.as_tensor(metric(logits)).detach().float()
        if reduce == "scalar" and out.ndim != 0:
            raise SelfrepError(
                f"A metric returns a scalar under reduce='scalar'; {name!r} returned {list(out.shape)}. With [batch] "
                "use reduce='mean' or 'none'."
            )
        if reduce != "scalar" and out.shape != (n_rows,):
            raise SelfrepError(
                f"A metric returns [batch], here [{n_rows}], under reduce={reduce!r}; {name!r} returned "
                f"{list(out.shape)}."
            )
        return out.expand(n_rows)

    return value


def readings(rules: Sequence[Rule], seen: View) -> tuple[Reading, ...]:
    """The rules as readings of the engine. Walks run side by side, but a metric is the user's own function: only one
    walk at a time calls it.

    Example:
        >>> readings([lambda logits: logits[:, -1, 0]], view([-1], 4))[0].positions
        (-1,)
    """
    lock = Lock()

    def value(rule: Rule, logits: Tensor) -> Tensor:
        with lock:
            values = [rule(seen(one)) for one in logits.reshape(-1, *logits.shape[-3:])]
        return torch.stack(values).reshape(logits.shape[:-2]).to(logits.device)

    return tuple(Reading(seen.positions, None, partial(value, rule)) for rule in rules)


def baseline(lm: LanguageModel, final: Tensor, rules: Sequence[Rule], seen: View) -> Tensor:
    """The metrics of the unpatched run: [metric, batch].

    Args:
        lm: the model; final: [batch, pos, d_model], the output of the last block; rules: see `rule`; seen: see `view`.

    Raises:
        SelfrepError: a metric that changes when the logits that it claims not to read are NaN.

    Example:
        >>> from selfrep.models.loading import load_model
        >>> lm = load_model("organism:bleed?beta=0.4", device="cpu")
        >>> final = torch.zeros(1, 3, lm.d_model)
        >>> baseline(lm, final, [rule(lambda logits: logits[:, -1, 0], "first", 1, "mean")], view([-1], 3)).shape
        torch.Size([1, 1])
    """
    logits = lm.logits(final)
    part = None if seen.whole else logits[:, list(seen.positions)]
    values = torch.stack([rule(logits) for rule in rules]).cpu()
    if part is None:
        return values
    partly = torch.stack([rule(seen(part)) for rule in rules]).cpu()
    same = torch.isclose(partly, values, rtol=1e-5, atol=1e-6, equal_nan=True)
    if not bool(same.all()):
        worst = int((~same).flatten().int().argmax())
        raise SelfrepError(
            f"A metric reads no logits but those at reads={seen.positions}; this one gives "
            f"{values.flatten()[worst]:.6g} where it sees all logits of the corrupted prompts, and "
            f"{partly.flatten()[worst]:.6g} where the others are NaN. Name every position that it reads, or leave "
            "reads out."
        )
    return values
