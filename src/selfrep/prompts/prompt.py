"""The texts of a conversation and their labels, before any chat template or tokenizer.

A `Prompt` holds the texts alone, so that it can be read, compared and stored without a model. `selfrep.prompts.render`
turns it into tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from selfrep.errors import SelfrepError
from selfrep.prompts import arguments, words
from selfrep.prompts.arguments import Several
from selfrep.prompts.battery import Item
from selfrep.prompts.persona import CONDITIONS, FRAMES, Condition, Persona
from selfrep.prompts.questions import AnswerSets
from selfrep.prompts.shown import shown

PromptCondition: TypeAlias = Condition | Literal["truth", "echo"]
"""How a prompt speaks of a persona: in one of the persona's conditions, or as in "you", followed by a sentence of the
item. In "truth" that is its `truth_change`, which really makes another answer right, the positive control of the item;
in "echo" its `truth_echo`, the same words that change nothing."""

PROMPT_CONDITIONS: tuple[PromptCondition, ...] = (*CONDITIONS, "truth", "echo")


@shown(
    lambda self: {
        "persona": self.persona,
        "condition": self.condition,
        "paraphrase": self.paraphrase or None,
        "item": self.item,
        "system": self.system,
        "question": self.question,
        "prefill": self.prefill,
    }
)
@dataclass(frozen=True)
class Prompt:
    """The texts that are put to the model, and the labels under which results keep them.

    Fields:
        system: the system text; given explicitly even when empty, so that no template puts its own in place.
        turns: user, assistant, ..., user; the last is the question.
        prefill: how the answer begins, "" for nothing.
        persona, side, kind, family, reading, condition, paraphrase, frame, item: labels that travel with the results;
            so do persona_label, side_label and kind_label, by which figures call them. The reading of a prompt without
            a persona is "unprompted".
        answers: the two answer sets, as texts; names: whether these are names, read by their first token.
        said: the answers that some persona's own description says already (see `selfrep.prompts.words`); results are
            read with and without them.

    Raises SelfrepError when the turns do not end with a question.

    Example:
        >>> Prompt("You are a nurse.", ("Hello!", "Hello there.", "Who are you?"), prefill="I am a").question
        'Who are you?'
    """

    system: str
    turns: tuple[str, ...]
    prefill: str = ""
    persona: str = ""
    side: str = ""
    kind: str = ""
    family: str = ""
    reading: str = ""
    condition: str = ""
    paraphrase: int = 0
    frame: int = 0
    item: str = ""
    persona_label: str = ""
    side_label: str = ""
    kind_label: str = ""
    answers: AnswerSets | None = None
    names: bool = False
    said: tuple[str, ...] = ()

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

    @property
    def slots(self) -> tuple[str, ...]:
        """What the segments of its texts are called: of the system text, the turns, and the prefill."""
        return ("system", *("history" for _ in self.turns[1:]), "question", "prefill")


def prompt(persona: Persona, item: Item, condition: PromptCondition = "you", paraphrase: int = 0) -> Prompt:
    """One item, put to one persona in one condition and paraphrase. A neutral prompt has no persona's name.

    Args:
        persona: who plays; item: the question.
        condition: "you", "user", "book", "neutral", "truth" or "echo".
        paraphrase: which of the persona's descriptions, from 0.

    Raises:
        SelfrepError: the persona has no such condition or paraphrase, or the item no sentence for "truth" or "echo".

    Example:
        >>> from selfrep.prompts import battery, personas
        >>> prompt(personas.builtin()["jfk"], battery.builtin()["who_are_you"], "user").system
        'The user is John F. Kennedy, the President of the United States in 1962.'
    """
    nameless = Prompt(
        system=_system(persona, item, condition, paraphrase),
        turns=(item.question,),
        prefill=item.prefill,
        condition=condition,
        paraphrase=paraphrase,
        frame=paraphrase % len(FRAMES),
        item=item.name,
        answers=item.answer_sets,
        names=item.names,
    )
    if condition == "neutral":
        return replace(nameless, reading="unprompted")
    labels = ("side", "kind", "family", "reading", "side_label", "kind_label")
    known = {label: getattr(persona, label) for label in labels}
    return replace(nameless, persona=persona.name, persona_label=persona.label, **known)


def prompts(
    personas: Several[Persona],
    items: Several[Item],
    conditions: Several[PromptCondition] = ("you",),
    paraphrases: Several[int] | None = None,
) -> list[Prompt]:
    """Every item, put to every persona in the given conditions and paraphrases. Public as `selfrep.make_prompts`.

    Args:
        personas: who plays; items: the questions.
        conditions: of "you", "user", "book", "neutral", "truth" and "echo".
        paraphrases: which of each persona's descriptions; all of them when None.

    Returns:
        prompts without repetition, those of one system text side by side. Neutral prompts, which are alike for all
        personas, appear once each. All know which of their answers one of these personas' descriptions says.

    Raises:
        SelfrepError: a persona without one of the conditions or paraphrases, or an item without the sentence of
            the condition "truth" or "echo" (`battery.changeable()` and `battery.echoing()` hold those that have one).

    Example:
        >>> from selfrep.prompts import battery, personas
        >>> people = personas.builtin().select(["smollm", "jfk"])
        >>> items = battery.builtin().select(["who_are_you"])
        >>> made = prompts(people, items, conditions=["you", "user"], paraphrases=[0])
        >>> [(one.persona, one.condition) for one in made]
        [('smollm', 'you'), ('smollm', 'user'), ('jfk', 'you'), ('jfk', 'user')]
    """
    items = arguments.several(items, Item)
    conditions = arguments.names(conditions, "condition", PROMPT_CONDITIONS)
    chosen = None if paraphrases is None else arguments.numbers(paraphrases, "paraphrases")
    people = arguments.several(personas, Persona)
    spoken = words.spoken(people)
    said = {sets: words.said(sets, spoken) for sets in dict.fromkeys(item.answer_sets for item in items)}
    distinct = {
        replace(prompt(persona, item, condition, k), said=said[item.answer_sets]): None
        for persona in people
        for condition in conditions
        for k in (range(_paraphrases(persona, condition)) if chosen is None else chosen)
        for item in items
    }
    return list(distinct)


def _paraphrases(persona: Persona, condition: PromptCondition) -> int:
    return len(persona.systems("you" if condition == "truth" or condition == "echo" else condition))


def _system(persona: Persona, item: Item, condition: PromptCondition, paraphrase: int) -> str:
    if condition != "truth" and condition != "echo":
        return persona.system(condition, paraphrase)
    sentence = item.truth_change if condition == "truth" else item.truth_echo
    if sentence is None:
        field, has = ("truth_change", "changeable") if condition == "truth" else ("truth_echo", "echoing")
        raise SelfrepError(
            f"In the condition {condition!r} the system text ends with a sentence of the item; {item.name!r} has no "
            f"{field}. Write one, or ask only items that have it (battery.{has}())."
        )
    return f"{persona.system('you', paraphrase)} {sentence}"
