"""Numbers as they are read: in sentences, on figures, in tables."""

from __future__ import annotations

import math

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float) -> str:
    """A number as it is read: three significant digits, a true minus sign, a power of ten only where it must be.

    >>> number(-0.01234), number(12345.6), number(1.5e-7)
    ('−0.0123', '12,346', '1.5 × 10⁻⁷')
    """
    if not math.isfinite(value):
        return "–"
    short = f"{value:.3g}"
    text = f"{value:,.0f}" if 1000 <= abs(float(short)) < 1e6 else short
    digits, _, power = text.replace("-", "\N{MINUS SIGN}").partition("e")
    if not power:
        return digits
    sign = "⁻" if power[0] == "\N{MINUS SIGN}" else ""
    return f"{digits} × 10{sign}{power[1:].lstrip('0').translate(_RAISED)}"


TOLD = 2
"""Significant digits of an estimate in a sentence: its interval leaves no more."""


def told(value: float) -> str:
    """An estimate as a sentence tells it, in two significant digits.

    >>> told(5.454), told(-0.0906), told(152.3), told(6.4e-5)
    ('5.5', '−0.091', '150', '6.4 × 10⁻⁵')
    """
    return number(float(f"{value:.{TOLD}g}"))


def counted(n: int, what: str, several: str = "") -> str:
    """A count and what is counted, in one or in several.

    >>> counted(1, "item"), counted(12000, "item"), counted(2, "family", "families")
    ('1 item', '12,000 items', '2 families')
    """
    return f"{n:,} {what if n == 1 else several or what + 's'}"


def with_unit(text: str, unit: str) -> str:
    r"""The text, and its unit held to it by a space that does not break.

    Example:
        >>> with_unit("3.2", "nats").split("\N{NO-BREAK SPACE}"), with_unit("0.4", "")
        (['3.2', 'nats'], '0.4')
    """
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text
