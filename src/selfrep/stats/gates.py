"""When a number may be believed: the conditions that several analyses share, each as a reason why not.

A number that is not identified is not printed. A gate is therefore a sentence: empty where the number stands, and
otherwise what the data would have had to show. Every analysis keeps the first sentence that applies.
"""

from __future__ import annotations

import numpy as np

from selfrep.stats.numbers import number
from selfrep.stats.rounding import negligible
from selfrep.stats.tables import Table

Array = np.ndarray

GATE = 3.0
"""A shift counts when it is this many times the paraphrase noise (SCIENCE: |effect| ≥ 3 × paraphrase SD)."""
LEAST_EFFECT = 0.1
"""Nats. Less than this changes odds by less than a tenth: too little to be divided into shares, however quiet
paraphrases are (SCIENCE: an item moved by 0.07 nats gave T = 2.74 and −1.81)."""
LEAST_MASS = 0.01
"""Below this probability of any answer, log odds compare words that the model would hardly say."""


def unanswered(columns: list[int], **tables: Table) -> str:
    """Why these items have no log odds to speak of in one of the conditions, if so.

    Args:
        columns: the numbers of the items.
        tables: the `Table` of each condition, by its name.

    Returns:
        A reason, or "" where all log odds are finite and the answers have mass.
    """
    if any(table.silent[columns].any() for table in tables.values()):
        return "all answers of a side stand in some persona’s description: none is left to read it by"
    for condition, table in tables.items():
        mass = float(table.mass[:, columns].mean())
        if not np.isfinite(table.log_odds[:, columns]).all():
            return (
                f"some log odds are not finite in the condition {condition!r}: the answers have no probability "
                f"(on average {mass:.2g})"
            )
        if not mass >= LEAST_MASS:
            return (
                f"the answers have a probability of only {mass:.2g} in the condition {condition!r}; "
                "the model would say something else"
            )
    return ""


def weak(effect: float, noise: float, what: str) -> str:
    """Why an effect is too small to be divided by, by itself or against the paraphrase noise, if so.

    Args:
        effect, noise: nats; noise is the paraphrase SD.
        what: the effect's name, with which the reason begins.

    Returns:
        A reason, or "".

    Example:
        >>> weak(0.8, 0.5, "the shift")
        'the shift of 0.80 nats is under three times the paraphrase noise (0.50)'
        >>> weak(0.8, 0.1, "the shift")
        ''
    """
    if not abs(effect) >= GATE * noise:
        return f"{what} of {signed(effect)} nats is under three times the paraphrase noise ({signed(noise)})"
    if not abs(effect) >= LEAST_EFFECT:
        return f"{what} of {signed(effect)} nats is under {LEAST_EFFECT:g}: it changes the odds by less than a tenth"
    return ""


def apart_from_0(low: float, high: float, scale: float) -> bool:
    """Whether an interval leaves out 0, by more than the rounding of numbers as large as `scale`.

    Example:
        >>> apart_from_0(0.1, 0.5, 1.0), apart_from_0(-0.1, 0.5, 1.0), apart_from_0(1e-12, 0.5, 1.0)
        (True, False, False)
    """
    nearest = low if low > 0 else min(high, 0.0)
    return not negligible(nearest, scale)


def signed(value: float) -> str:
    """A number with two decimals and a true minus sign; in full where these would be zeros.

    Example:
        >>> signed(-0.256), signed(0.0), signed(-1.5e-7)
        ('−0.26', '0.00', '−1.5 × 10⁻⁷')
    """
    rounds_away = 0 < abs(value) < 0.005
    return number(value) if rounds_away else f"{value:.2f}".replace("-", "−")
