"""What the findings of several analyses are made of: an estimate with its interval, pooled rows, counts of units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from selfrep.stats.numbers import counted, told
from selfrep.store.findings import NOT_IDENTIFIED, Finding

POOLED = {
    "in_character": "questions about the speaker",
    "first_person": "questions from outside that are answered as “I”",
    "third_person": "questions from outside",
}
"""What the framings of items are called in a sentence."""


FAMILIES = "families of personas"
"""The units of most findings."""
USER_IS = "the same words, said of the user"
"""Their most frequent control."""


def finding(
    row: xr.Dataset,
    title: str,
    *,
    control: str = "",
    how_sure: str = "",
    reason: str | None = None,
    value: str = "estimate",
    unit: str = "",
    **facts: Any,
) -> Finding:
    """The finding of one cell of an estimate.

    Args:
        row: `value`, `ci_low`, `ci_high` (`value` with these endings, where it is another than "estimate" and has
            them; NaN where there is no interval), `identified`, `reason`; scalars.
        reason: why the number is not identified; that of the row, when None; "" where it is.
        facts: what else a `Finding` has: name, label, p, n, n_of, beside, beside_what, gate.
    """
    why = str(row.reason.item()) if reason is None else reason
    low, high = (f"{value}_{end}" if f"{value}_{end}" in row else end for end in ("ci_low", "ci_high"))
    return Finding(
        title=title,
        value=float(row[value]),
        interval=(float(row[low]), float(row[high])) if _has_interval(row, low, high) else None,
        control=control,
        how_sure=how_sure,
        identified=bool(row.identified) if reason is None else not reason,
        reason=why,
        unit=unit,
        **facts,
    )


def with_interval(row: xr.Dataset, value: str = "estimate") -> str:
    """An estimate and its interval within a sentence, from one cell.

    >>> with_interval(xr.Dataset({"estimate": 0.5, "ci_low": 0.1, "ci_high": 0.9}))
    '0.5 (95 % interval 0.1 to 0.9)'
    """
    ends = [end if value == "estimate" else f"{value}_{end}" for end in ("ci_low", "ci_high")]
    if not _has_interval(row, *ends):
        return told(float(row[value]))
    estimate, low, high = (told(float(row[name])) for name in (value, *ends))
    return f"{estimate} (95 % interval {low} to {high})"


def in_brackets(row: xr.Dataset, value: str = "estimate") -> str:
    """An estimate, and its interval in brackets, where a sentence has said what these are.

    >>> in_brackets(xr.Dataset({"estimate": 0.5, "ci_low": 0.1, "ci_high": 0.9}))
    '0.5 [0.1, 0.9]'
    """
    ends = [end if value == "estimate" else f"{value}_{end}" for end in ("ci_low", "ci_high")]
    between = f" [{', '.join(told(float(row[end])) for end in ends)}]" if _has_interval(row, *ends) else ""
    return told(float(row[value])) + between


def _has_interval(row: xr.Dataset, low: str, high: str) -> bool:
    return bool(np.isfinite([float(row[low]), float(row[high])]).all())


def spoken(name: object) -> str:
    """A name of a study file within a sentence.

    >>> spoken("hal_9000")
    'hal 9000'
    """
    return str(name).replace("_", " ")


def label_of(row: xr.Dataset, name: str = "persona") -> str:
    """What one persona of a Dataset is called: by its label, or as its name is spoken.

    >>> label_of(xr.Dataset(coords={"persona": "hal_9000", "persona_label": "HAL 9000"}))
    'HAL 9000'
    """
    label = str(row[f"{name}_label"].item()) if f"{name}_label" in row.coords else ""
    return label or spoken(row[name].item())


def listed(parts: Sequence[str]) -> str:
    """Parts of a sentence, one after the other.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


@dataclass(frozen=True)
class Told:
    """One of several numbers that a sentence tells: of what, in words, and why it is not identified, if so."""

    of: str
    number: str
    reason: str = ""


def tell(several: Sequence[Told]) -> str:
    """Numbers one after the other, and of what there is none, each reason once.

    Example:
        >>> tell([Told("for sages", "0.3"), Told("for boys", "", "there is one"), Told("for men", "", "there is one")])
        '0.3 for sages; not identified for boys and for men (there is one)'
    """
    known = [f"{one.number} {one.of}" for one in several if not one.reason]
    reasons = dict.fromkeys(one.reason for one in several if one.reason)
    of = {reason: listed([one.of for one in several if one.reason == reason]) for reason in reasons}
    unknown = [f"{NOT_IDENTIFIED} {names} ({reason})" for reason, names in of.items()]
    return "; ".join([*known, *unknown])


def if_identified(row: xr.Dataset, words: str) -> str:
    """The words about a number, where it is identified; there are none about one that is not."""
    return words if bool(row.identified) else ""


def pooled_rows(estimates: xr.Dataset, framings: tuple[str, ...]) -> list[tuple[str, str]]:
    """The rows that pool a framing, each with its words; the single items where nothing is pooled."""
    names = [str(name) for name in estimates["item"].to_numpy()]
    rows = [(f"all {framing}", POOLED[framing]) for framing in framings if f"all {framing}" in names]
    return rows or [(name, f"the item “{spoken(name)}”") for name in names]


def all_words(row: xr.Dataset, value: str, unit: str = "") -> str:
    """What is found by all answer words, also those that some description says, as a sentence; or nothing.

    Args:
        row: one cell, with `all_words_…` of the value; bounds without its name where it is the estimate or the shift.

    >>> row = xr.Dataset({"all_words_estimate": 0.5, "all_words_ci_low": 0.1, "all_words_ci_high": 0.9})
    >>> all_words(row, "estimate")
    ' By all words, also those that some description says, it is 0.5 (95 % interval 0.1 to 0.9).'
    """
    names = {"estimate": f"all_words_{value}", "ci_low": "all_words_ci_low", "ci_high": "all_words_ci_high"}
    at = xr.Dataset({name: row[of] for name, of in names.items() if of in row})
    if "estimate" not in at or not np.isfinite(float(at["estimate"])):
        return ""
    return f" By all words, also those that some description says, it is {with_interval(at)}{unit and ' ' + unit}."


def how_tested(row: xr.Dataset, attrs: Mapping[str, Any], p: str = "p") -> str:
    """The p of a cell and how it was found, or why there is none, as the end of a sentence.

    >>> attrs = {"permuted": "the side labels of families", "n_labelings": 6435}
    >>> how_tested(xr.Dataset({"p": 0.03}), attrs)
    'p = 0.03 by permuting the side labels of families (6,435 labelings)'
    """
    if not np.isfinite(float(row[p])):
        return f"no p: {attrs.get('untestable') or 'too few families'}"
    labelings = counted(int(attrs["n_labelings"]), "labeling")
    return f"p = {told(float(row[p]))} by permuting {attrs['permuted']} ({labelings})"


def n_families(estimates: xr.Dataset) -> str:
    """How many families of personas there are, side by side: "8 and 8 families of personas"."""
    counts = np.atleast_1d(estimates.attrs.get("n_families", ()))
    return f"{' and '.join(map(str, counts))} {FAMILIES}" if len(counts) else "the personas"


def all_families(estimates: xr.Dataset) -> dict[str, Any]:
    """The number of families on both sides, as a `Finding` tells it; nothing where it is not known."""
    counts = np.atleast_1d(estimates.attrs.get("n_families", ()))
    return {"n": int(counts.sum()), "n_of": FAMILIES} if len(counts) else {}
