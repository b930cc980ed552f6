"""Prompts told apart by more than persona and item: a cell of a design, such as cue × stakes or condition × setting.

A case is a prompt and its labels. Labels are no fields of the prompt: each design has its own, and they matter only
where results are laid out again along them (see `selfrep.engine.cases`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selfrep.prompts.prompt import Prompt


@dataclass(frozen=True)
class Case:
    """A prompt, and where it stands in a design: label → value."""

    prompt: Prompt
    labels: Mapping[str, str | int | float]


def unmatched(texts: Mapping[str, str], most: int) -> str:
    """Why these texts are not of one length, if they are not: their numbers of words differ by more than `most`.

    Texts that are compared should differ in what they say, not in how long they take to say it.
    """
    counts = {name: len(text.split()) for name, text in texts.items()}
    if max(counts.values()) - min(counts.values()) <= most:
        return ""
    shown = ", ".join(f"{name} has {count} words" for name, count in counts.items())
    return f"texts that are compared are of one length, within {most} word(s); {shown}"
