"""How much of what a model would say is lost with the words that its tokenizer cuts.

Of a side of thirty words, five rare ones may be gone and nothing is lost; or the one that everybody says, and the rest
tell little. Which of the two it is only the model knows: whole words are teacher-forced after a few prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from selfrep.engine.sequences import answer_log_probs
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.persona import NEUTRAL, Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.questions import Question
from selfrep.prompts.render import render
from selfrep.prompts.unread import Lost

MOST_SPEAKERS = 8
"""So many personas are asked; and nobody in particular."""


def lost_with(lm: LanguageModel, people: PersonaSet) -> Lost:
    """How much of what a model would say of a side is lost with some words, as a function of `unread`.

    Words are teacher-forced and whole. A few of the personas are asked, and nobody in particular; the share is that of
    the summed probabilities. A word that changes how the prefill is cut has no probability there: then words count.
    """
    systems = [NEUTRAL[0], *(one.system("you", 0) for one in _speakers(people))]
    chat = lm.chat

    def lost_of(question: Question, gone: set[str], side: Sequence[str]) -> float:
        if not gone:
            return 0.0
        asked = [Prompt(system, (question.question,), question.prefill) for system in systems]
        bare = render(asked[0], chat).ids
        ends = [render(replace(asked[0], prefill=question.prefill + text), chat).ids for text in side]
        if any(len(ids) == len(bare) or ids[: len(bare)] != bare for ids in ends):
            return len(gone) / len(side)
        values, _ = answer_log_probs(lm, [prompt for prompt in asked for _ in side], [*side] * len(asked))
        probable = np.exp(np.nansum(values, axis=1)).reshape(len(asked), len(side)).sum(axis=0)
        return float(probable[[text in gone for text in side]].sum() / probable.sum())

    def lost(question: Question, left_out: Mapping[str, str]) -> tuple[float, float]:
        first, second = question.answer_sets
        return lost_of(question, {*left_out} & {*first}, first), lost_of(question, {*left_out} & {*second}, second)

    return lost


def _speakers(people: PersonaSet) -> list[Persona]:
    """One persona of each family, by turns of each side, as many as are asked."""
    families = list({persona.family: persona for persona in reversed(list(people))}.values())[::-1]
    place = {one.name: [other.side for other in families[:i]].count(one.side) for i, one in enumerate(families)}
    return sorted(families, key=lambda one: place[one.name])[:MOST_SPEAKERS]
