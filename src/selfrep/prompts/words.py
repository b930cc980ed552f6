"""Answer words that a prompt says already: "You are a nurse." makes " nurse" likely, whoever speaks.

An answer counts as said when some persona's description, system text or label holds it as a word, in capitals or not.
Of a name its beginning is enough, since a token is often no more: " Sm" begins SmolLM. The answers of every prompt are
read twice, with all words and without those that are said of anybody, so that all personas are read by the same words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from selfrep.prompts.persona import Persona
from selfrep.prompts.questions import AnswerSets

_WORD = re.compile(r"[^\W\d_]+")


def spoken(personas: Iterable[Persona]) -> frozenset[str]:
    """The words of the descriptions, own system texts and labels of personas, as they are written.

    Example:
        >>> sorted(spoken([Persona(name="hal", descriptions=["HAL 9000, a computer"])]))
        ['HAL', 'a', 'computer', 'hal']
    """
    texts = (text for one in personas for text in (*one.descriptions, *one.you, *one.user, one.label))
    return frozenset(word for text in texts for word in _WORD.findall(text))


def said(answers: AnswerSets, spoken: frozenset[str]) -> tuple[str, ...]:
    """The answers, of both sides, that are among some words, or begin a name there.

    Example:
        >>> said(((" computer", " Sm"), (" man", " Nurse")), frozenset({"computer", "SmolLM", "nurse", "mankind"}))
        (' computer', ' Sm', ' Nurse')
    """
    plain = {word.casefold() for word in spoken}
    names = tuple(word for word in spoken if word[0].isupper())

    def holds(answer: str) -> bool:
        text = answer.split()[0]  # of a name of several words, the first
        return text.casefold() in plain or (text[:1].isupper() and any(name.startswith(text) for name in names))

    return tuple(answer for side in answers for answer in side if holds(answer))
