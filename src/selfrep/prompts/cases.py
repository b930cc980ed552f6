"""Prompts that differ in more than persona and item: in their cell of a design, such as cue × stakes.

A case is a prompt and its labels. Labels are no fields of the prompt: each design has its own, and they matter only
where results are laid out again along them (see `selfrep.engine.cases`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from selfrep.prompts.prompt import Prompt


@dataclass(frozen=True)
class Case:
    """A prompt, and its place in a design.

    Fields:
        prompt: the prompt.
        labels: label → value, e.g. {"cue": 1, "stakes": 0}.

    Example:
        >>> Case(Prompt("You are a nurse.", ("Who are you?",)), {"cue": 1, "stakes": 0}).labels["cue"]
        1
    """

    prompt: Prompt
    labels: Mapping[str, str | int | float]


def unmatched(texts: Mapping[str, str], most: int) -> str:
    """Why these texts are not of one length; "" when they are.

    Texts that are compared should differ in what they say, not in how long they take to say it.

    Args:
        texts: name → text, at least one; most: by how many words their lengths may differ.

    Example:
        >>> unmatched({"cue": "You are a robot.", "control": "You are a nurse."}, most=1)
        ''
        >>> unmatched({"cue": "a robot", "control": "a nurse in a small town"}, most=1)
        'texts that are compared are of one length, within 1 word(s); cue has 2 words, control has 6 words'
    """
    counts = {name: len(text.split()) for name, text in texts.items()}
    if max(counts.values()) - min(counts.values()) <= most:
        return ""
    shown = ", ".join(f"{name} has {count} words" for name, count in counts.items())
    return f"texts that are compared are of one length, within {most} word(s); {shown}"
