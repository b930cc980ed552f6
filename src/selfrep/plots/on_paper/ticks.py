"""The labels of an axis that have room: thinned, in lines, or upright."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfrep.plots.on_paper.type import shortened, wide, wrapped

LEAD = 1.22
"""From line to line, in type sizes."""
PER_INCH = 72.0
"""Points in an inch."""


def apart(at: Sequence[float], texts: Sequence[str], least: float) -> tuple[list[float], list[str], list[bool]]:
    """The labels that stand at least so far from the last one that is shown, none of them bold."""
    chosen: list[int] = []
    for i, here in enumerate(at):
        if not chosen or here - at[chosen[-1]] >= least:
            chosen.append(i)
    return [at[i] for i in chosen], [texts[i] for i in chosen], [False] * len(chosen)


def span(ends: tuple[float, float]) -> float:
    """How much an axis shows."""
    return abs(ends[1] - ends[0]) or 1.0


def numeric(texts: Any) -> bool:
    """Whether labels are numbers, of which some may be left out."""
    return all(str(text).replace("\N{MINUS SIGN}", "").replace(".", "").isdigit() for text in texts or ())


def thinned(
    at: list[float], texts: list[str], size: float, each: float, room: float, *, tokens: bool
) -> tuple[list[float], list[str], bool]:
    """The labels of a horizontal axis that have room, and whether they stand upright.

    Args:
        each: inches a unit of the axis.
        tokens: whether some may be left out, counted from the last one.
    """
    if not at:
        return at, texts, False
    line, gap = size * 1.1 / PER_INCH, 0.6 * size / PER_INCH
    apart = float(np.diff(sorted(at)).min(initial=room / each)) * each
    if tokens:
        if max(wide(t, size) for t in texts) + gap <= apart:
            return at, texts, False
        step = int(np.ceil(line / apart - 1e-9))
        chosen = sorted(range(len(at) - 1, -1, -step))
        return [at[i] for i in chosen], [shortened(texts[i], size, 0.8) for i in chosen], True
    if numeric(texts):
        step = next(s for s in range(1, len(at) + 1) if s * apart >= max(wide(t, size) for t in texts) + gap)
        return at[::step], texts[::step], False
    slot = apart - gap / 2
    if all(wide(word, size) <= slot for text in texts for word in text.split()):
        return at, [wrapped(text.replace("\n", " "), size, slot) for text in texts], False
    return at, [upright(text.replace("\n", " "), size, apart) for text in texts], True


def upright(text: str, size: float, apart: float) -> str:
    """A label that stands upright, in as many lines as there is room for."""
    lines = max(1, int(apart / (size * LEAD / PER_INCH)))
    whole = wide(text, size)
    if whole <= 0.7 or lines == 1:
        return text
    return wrapped(text, size, max(whole / min(lines, 2) * 1.15, 0.6))
