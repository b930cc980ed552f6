"""What a conversation with a persona says, before any chat template or tokenizer: the texts, and their labels.

A `Prompt` holds the texts alone, so that it can be read, compared and stored without a model. `selfrep.prompts.render`
turns it into tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from selfrep.errors import SelfrepError
from selfrep.prompts.battery import Item
from selfrep.prompts.personas import Condition, Persona
from selfrep.prompts.questions import AnswerSets

PromptCondition: TypeAlias = Condition | Literal["truth"]
"""How a persona is spoken of in a prompt: in one of its own conditions, or "truth": as in "you", and then the item's
`truth_change`, a sentence that really makes another answer right. It is the positive control of what is held true."""


@dataclass(frozen=True)
class Prompt:
    """What is said to the model, before any template or tokenizer, and where it comes from.

    Fields:
        system: the system text; given explicitly even when empty, so that no template puts its own in place.
        turns: user, assistant, ..., user; the last is the question.
        prefill: how the answer begins.
        persona, kind, side, condition, paraphrase, item: labels that travel with the results.
        answers: the two answer sets, as texts.

    Raises SelfrepError when the turns do not end with a question.
    """

    system: str
    turns: tuple[str, ...]
    prefill: str = ""
    persona: str = ""
    kind: str = ""
    side: str = ""
    condition: str = ""
    paraphrase: int = 0
    item: str = ""
    answers: AnswerSets | None = None

    def __post_init__(self) -> None:
        rounds = isinstance(self.turns, tuple) and len(self.turns) % 2 == 1
        if not rounds or not all(turn.strip() for turn in self.turns):
            raise SelfrepError(
                f"The turns of a prompt are a tuple of non-empty texts, user and assistant by turns, beginning "
                f"and ending with the user; got {self.turns!r}."
            )

    @property
    def question(self) -> str:
        """The last turn."""
        return self.turns[-1]


def prompt(persona: Persona, item: Item, condition: PromptCondition = "you", paraphrase: int = 0) -> Prompt:
    """One item, asked of one persona in one condition and paraphrase. A neutral prompt carries no persona's name.

    Raises SelfrepError when the persona has no such condition or paraphrase, or the item no change of the truth to
    tell.
    """
    asked = Prompt(
        system=_truth(persona, item, paraphrase) if condition == "truth" else persona.system(condition, paraphrase),
        turns=(item.question,),
        prefill=item.prefill,
        condition=condition,
        paraphrase=paraphrase,
        item=item.name,
        answers=item.answer_sets,
    )
    return (
        asked if condition == "neutral" else replace(asked, persona=persona.name, kind=persona.kind, side=persona.side)
    )


def prompts(
    personas: Iterable[Persona],
    items: Iterable[Item],
    conditions: Sequence[PromptCondition] = ("you",),
    paraphrases: Sequence[int] | None = None,
) -> list[Prompt]:
    """Every item asked of every persona in the given conditions and paraphrases (None: all that each persona has).

    Prompts with the same system text stand together. Neutral prompts, alike for all personas, appear once each.
    Raises SelfrepError when a persona lacks a condition or paraphrase that is asked for, and, in the condition "truth",
    when an item has no `truth_change` (`battery.changeable()` holds those that have one).
    """
    items = tuple(items)
    made = {
        prompt(persona, item, condition, k): None
        for persona in personas
        for condition in conditions
        for k in (range(_paraphrases(persona, condition)) if paraphrases is None else paraphrases)
        for item in items
    }
    return list(made)


def _paraphrases(persona: Persona, condition: PromptCondition) -> int:
    return len(persona.systems("you" if condition == "truth" else condition))


def _truth(persona: Persona, item: Item, paraphrase: int) -> str:
    if item.truth_change is None:
        raise SelfrepError(
            f"In the condition 'truth' the system text ends with a sentence that changes the right answer; the item "
            f"{item.name!r} has no truth_change. Write one, or ask only items that have it (battery.changeable())."
        )
    return f"{persona.system('you', paraphrase)} {item.truth_change}"
