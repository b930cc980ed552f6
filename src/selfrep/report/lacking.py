"""What a model's tokenizer left out of its study, in sentences: which words, which questions, which analyses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from selfrep.prompts.answers import REMEDY
from selfrep.stats.numbers import number

Record = Mapping[str, Any]
"""What the provenance of a run keeps under "answers" (see `selfrep.study.readable`)."""

NOTHING: Record = {"words": {}, "questions": {}, "lost": {}, "parts": {}}
"""Where nothing is left out."""


def lacking(record: Record) -> Iterator[str]:
    """A sentence for each set of words that is left out, each question and analysis that falls away, and the remedy.

    Example:
        >>> record = {"words": {"battery › who": {" chemist": "is 2 tokens: ' chem', 'ist'"}}, "questions": {},
        ...           "lost": {"battery › who": [0.0, 0.004]}, "parts": {}}
        >>> list(lacking(record))
        ["Of battery › who are left out: ' chemist' (0.4 % of what the model would say of that side)."]
    """
    places: dict[tuple[str, ...], list[str]] = {}
    for place, words in record["words"].items():
        if place not in record["questions"]:
            places.setdefault(tuple(words), []).append(place)
    for left_out, where in places.items():
        shares = [max(record["lost"][place]) for place in where if place in record["lost"]]
        most = f" ({_percent(max(shares))} of what the model would say of that side)" if shares else ""
        yield f"Of {_in_short(where)} are left out: {', '.join(map(repr, left_out))}{most}."
    for place, why in record["questions"].items():
        yield f"{place} falls away: {why}"
    if record["questions"]:
        yield REMEDY
    for name, why in record["parts"].items():
        yield f"The analysis {name} falls away: {why}."


def _percent(share: float) -> str:
    return f"{number(round(100 * share, 1))} %" if share >= 0.001 else "less than 0.1 %"


def _in_short(places: list[str]) -> str:
    """The places, or the first of them and how many more there are."""
    more = len(places) - 1
    return places[0] if not more else f"{places[0]} and {more} more"
