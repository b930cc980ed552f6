"""What the findings of several analyses are made of: an estimate with its interval, pooled rows, counts of units."""

from __future__ import annotations

import numpy as np
import xarray as xr

from selfrep.stats.numbers import number
from selfrep.store.findings import Finding

POOLED = {
    "in_character": "questions about the speaker",
    "first_person": "questions from outside that are answered as “I”",
    "third_person": "questions from outside",
}
"""What the framings of items are called in a sentence."""


def finding(
    row: xr.Dataset,
    title: str,
    *,
    control: str = "",
    how_sure: str = "",
    reason: str | None = None,
    value: str = "estimate",
    unit: str = "",
    about: str = "",
) -> Finding:
    """The finding of one cell of an estimate.

    Args:
        row: `value`, `ci_low`, `ci_high` (`value` with these endings, where it is another than "estimate" and has
            them), `identified`, `reason`; scalars.
        reason: why the number is not identified; that of the row, when None; "" where it is.
    """
    why = str(row.reason.item()) if reason is None else reason
    low, high = (f"{value}_{end}" if f"{value}_{end}" in row else end for end in ("ci_low", "ci_high"))
    return Finding(
        title=title,
        value=float(row[value]),
        interval=(float(row[low]), float(row[high])),
        control=control,
        how_sure=how_sure,
        identified=bool(row.identified) if reason is None else not reason,
        reason=why,
        unit=unit,
        about=about,
    )


def with_interval(row: xr.Dataset, value: str = "estimate") -> str:
    """An estimate and its interval within a sentence, from one cell.

    >>> with_interval(xr.Dataset({"estimate": 0.5, "ci_low": 0.1, "ci_high": 0.9}))
    '0.5 (95 % interval 0.1 to 0.9)'
    """
    prefix = "" if value == "estimate" else f"{value}_"
    estimate, low, high = (number(float(row[name])) for name in (value, f"{prefix}ci_low", f"{prefix}ci_high"))
    return f"{estimate} (95 % interval {low} to {high})"


def if_identified(row: xr.Dataset, words: str) -> str:
    """The words about a number, where it is identified; there are none about one that is not."""
    return words if bool(row.identified) else ""


def pooled_rows(estimates: xr.Dataset, framings: tuple[str, ...]) -> list[tuple[str, str]]:
    """The rows that pool a framing, each with its words; the single items where nothing is pooled."""
    names = [str(name) for name in estimates["item"].to_numpy()]
    rows = [(f"all {framing}", POOLED[framing]) for framing in framings if f"all {framing}" in names]
    return rows or [(name, f"the item “{name}”") for name in names]


def n_personas(estimates: xr.Dataset) -> str:
    """How many personas there are, side by side: "8 and 8"."""
    if "n_personas" in estimates.attrs:
        return " and ".join(map(str, np.atleast_1d(estimates.attrs["n_personas"])))
    return "the"
