"""What an analysis says of an organism, beside what is true of it: how each room marks itself.

An answer is wrong when it is off by more than the estimand should be, and it is given with confidence when it is
identified and its interval leaves the truth out. Where the truth defines no number, any number is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from selfrep.models.language_model import LanguageModel
    from selfrep.models.organisms import Truth

ROUNDING = 1e-3
"""Without noise, intervals have no width: a truth this near to one (in its unit) lies in it."""


@dataclass(frozen=True)
class Line:
    """A row of the score card: answers of several organisms that are judged together.

    Attributes:
        what: the row in words.
        kinds: the kinds of organisms whose answers it holds; none: all of them.
        of: which of several answers ("maker", "neutral", …).
        custom: what common practice takes instead, in words.
    """

    what: str
    kinds: tuple[str, ...] = ()
    of: str = ""
    custom: str = ""


@dataclass(frozen=True)
class Estimand:
    """A quantity that an analysis estimates, and how it is judged.

    Attributes:
        symbol: "B", "R", "λ", …; title: the same in a few words.
        tolerance: how far off an answer may be and not be wrong, in the unit of the answers.
        lines: the rows of the score card; without any, one row for each `of`, over all organisms.
        of: the answers that the figure shows, where there are too many to show all; none: all of them.
    """

    symbol: str
    title: str
    tolerance: float
    lines: tuple[Line, ...] = ()
    of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """One estimand, asked of one organism.

    Attributes:
        estimand: what is estimated; of: which of several ("maker", "neutral", …).
        truth: None where nothing is defined, so that only "not identified" is right.
        estimate, ci_low, ci_high: NaN where it is not identified; reason: why it is not.
        common: what would be said without the estimand's controls; NaN where there is no such custom.

    Example:
        >>> from selfrep.analyses.answers import Answer, Estimand
        >>> answer = Answer(Estimand("B", "B, bleed", 0.03), "", truth=0.4, estimate=0.46, ci_low=0.45, ci_high=0.47)
        >>> answer.wrong, round(answer.error, 2)
        (True, 0.06)
    """

    estimand: Estimand
    of: str
    truth: float | None
    estimate: float
    ci_low: float
    ci_high: float
    reason: str = ""
    common: float = float("nan")

    @property
    def identified(self) -> bool:
        """Whether a number is given."""
        return not self.reason

    @property
    def error(self) -> float:
        """How far the estimate is off; NaN where none is given or none is true."""
        return self.estimate - self.truth if self.identified and self.truth is not None else float("nan")

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.truth is not None and self.ci_low - ROUNDING <= self.truth <= self.ci_high + ROUNDING

    @property
    def wrong(self) -> bool:
        """Whether this is a wrong answer given with confidence."""
        if not self.identified:
            return False
        return self.truth is None or (abs(self.error) > self.estimand.tolerance and not self.covered)


Answers = Callable[["LanguageModel", "Truth"], Iterator[Answer]]
"""What an analysis says of an organism, beside its truth; nothing where the organism has no answer."""


def answer(
    estimand: Estimand,
    truth: float | None,
    cell: xr.Dataset,
    of: str = "",
    *,
    names: Sequence[str] = ("estimate", "ci_low", "ci_high"),
    unit: float = 1.0,
    common: float = float("nan"),
) -> Answer:
    """The answer that one cell of an analysis's results gives.

    Args:
        estimand, truth, of, common: as in `Answer`.
        cell: one cell of the results: "identified" and "reason", and the variables called `names`.
        names: the variables that hold the estimate and its interval.
        unit: what one of them is in the unit of the truth.

    Example:
        >>> import xarray as xr
        >>> from selfrep.analyses.answers import Estimand, answer
        >>> cell = xr.Dataset({"estimate": 2.0, "ci_low": 1.0, "ci_high": 3.0, "identified": True, "reason": ""})
        >>> answer(Estimand("I", "I (nats)", 0.25), 4.0, cell, unit=2.0).error
        0.0
    """
    estimate, low, high = (unit * float(cell[name]) for name in names)
    reason = "" if bool(cell.identified) else str(cell.reason.to_numpy())
    return Answer(estimand, of, truth, estimate, low, high, reason, common)
