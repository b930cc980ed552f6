"""What is rounding and what is data: the question to ask of a number before a decision hangs on its being 0.

A difference that is 0 on paper is 0 on one processor and 1e-17 on another: the rounding of a sum is about the machine's
epsilon times the size of what is summed, and processors sum in different orders. So no decision compares such a number
with exact 0. It asks whether the number is negligible beside the numbers that it was computed from.
"""

from __future__ import annotations

import numpy as np

Numbers = float | np.floating | np.ndarray

ROUNDING = 1e-6
"""Eight times float32's epsilon: models compute in float32, so a smaller share of what was subtracted is no data."""


def negligible(x: Numbers, scale: Numbers, *, degree: int = 1) -> np.ndarray:
    """Whether numbers are 0 but for rounding.

    Args:
        x: numbers of any shape; NaN is never negligible.
        scale: the size of the numbers that x was computed from, in the unit of x (broadcast with x).
        degree: 2 where x is a square or a product of differences, such as a variance: its rounding is a square, too.

    Returns:
        bool, in the shape of x and scale together.

    Example:
        >>> bool(negligible(0.1 + 0.2 - 0.3, 0.3)), bool(negligible(1e-3, 0.3)), bool(negligible(0.0, 0.0))
        (True, False, True)
    """
    return np.asarray(np.abs(x) <= ROUNDING**degree * np.asarray(scale))
