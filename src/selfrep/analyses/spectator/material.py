"""How a model is asked what somebody would answer, with nobody played.

The system text is neutral, and the question tells of a chat with the persona. The answer begins as the persona's own
would, so that the same words can follow. Two controls are asked beside it: the same of a chat with nobody in
particular, and of somebody who has merely read about the persona, so that the same words stand in the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from pydantic import field_validator

from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.battery import Item
from selfrep.prompts.persona import Persona
from selfrep.prompts.prompt import Prompt, prompt
from selfrep.prompts.yaml_errors import Entry, Info

Outside = Literal["foretold", "foretold_of_nobody", "foretold_of_reader"]
OUTSIDE: tuple[Outside, ...] = get_args(Outside)


class Form(Entry):
    """The words in which it is asked. "{}" is the place of what is asked about.

    Fields:
        foretold: the scene, with a description of the persona.
        foretold_of_nobody: the same scene with nobody in particular.
        foretold_of_reader: the same with somebody who is not the persona, with a description of the persona.
        question: what is asked, with the scene and then the question of the item.
        prefill: how the answer begins, with the beginning of the item's own answer.

    Raises SelfrepError for a text without its places.

    Example:
        >>> Form(question="{} What would be said?").question
        Traceback (most recent call last):
        selfrep.prompts.yaml_errors.Mistakes: Form: 1 mistake
          question: needs "{}" 2 times, for what is asked about; got '{} What would be said?'
    """

    foretold: str = "Imagine a chat with {}."
    foretold_of_nobody: str = "Imagine a chat."
    foretold_of_reader: str = "Imagine a chat with somebody who has read about {}."
    question: str = "{} There a visitor asks: “{}” How does the reply begin?"
    prefill: str = "In that chat the reply begins: “{}"

    @field_validator("*")
    @classmethod
    def _places(cls, text: str, info: Info) -> str:
        places = {"foretold_of_nobody": 0, "question": 2}.get(info.field_name or "", 1)
        if text.count("{}") != places or "{" in text.replace("{}", ""):
            raise ValueError(f'needs "{{}}" {places} times, for what is asked about; got {text!r}')
        return text

    def begun(self, item: Item) -> str:
        """How the answer begins that foretells an answer to the item."""
        return self.prefill.replace("{}", item.prefill)


def questions(personas: Several[Persona], items: Several[Item], form: Form | None = None) -> list[Prompt]:
    """The prompts that ask, from outside, what each persona would answer to each item.

    Args:
        personas: of whom it is asked; items: what they would be asked.
        form: in which words; English ones when None.

    Returns:
        prompts in the conditions "foretold" (of the persona), "foretold_of_reader" (of somebody who has read about it)
        and "foretold_of_nobody" (without a persona, once each), in all paraphrases.

    Example:
        >>> from selfrep.prompts import battery, personas
        >>> jfk, item = personas.builtin()["jfk"], battery.builtin()["who_are_you"]
        >>> one = questions(jfk, item)[0]
        >>> one.system, one.prefill
        ('Here is a message.', 'In that chat the reply begins: “I am a')
        >>> one.question.startswith("Imagine a chat with John F. Kennedy, the President of the United States in 1962.")
        True
    """
    everyone, asked = arguments.several(personas, Persona), arguments.several(items, Item)
    distinct = {
        _question(persona, item, condition, k, form or Form()): None
        for persona in everyone
        for condition in OUTSIDE
        for k in range(len(persona.neutral) if condition == "foretold_of_nobody" else persona.n_paraphrases)
        for item in asked
    }
    return list(distinct)


def _question(persona: Persona, item: Item, condition: Outside, paraphrase: int, form: Form) -> Prompt:
    who = prompt(persona, item, "neutral" if condition == "foretold_of_nobody" else "you", paraphrase)
    scene = str(getattr(form, condition)).replace("{}", persona.descriptions[paraphrase % persona.n_paraphrases])
    before, between, after = form.question.split("{}")
    return replace(
        who,
        system=persona.neutral[paraphrase % len(persona.neutral)],
        turns=(before + scene + between + item.question + after,),
        prefill=form.begun(item),
        condition=condition,
    )
