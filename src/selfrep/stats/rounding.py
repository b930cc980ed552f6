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


RESOLUTION = {"float32": 1e-5, "float16": 8e-3, "bfloat16": 6e-2}
"""The smallest difference of two runs of a model that is more than its own rounding, beside max(1, what is subtracted),
in nats: about 80 times float32's epsilon, since tens of blocks round, and eight times those of half precision."""


def unresolved(x: Numbers, scale: Numbers, dtype: str) -> np.ndarray:
    """Whether differences of log odds or logits are too small for a model of this precision to tell.

    Args:
        x: differences in nats, of any shape; NaN is not too small.
        scale: the size of what was subtracted, in nats; dtype: "float32", "bfloat16" or "float16".

    Example:
        >>> [bool(unresolved(2e-2, 3.0, dtype)) for dtype in ("float32", "bfloat16")]
        [False, True]
    """
    return np.asarray(np.abs(x) <= RESOLUTION.get(dtype, RESOLUTION["float32"]) * np.maximum(1.0, scale))


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
