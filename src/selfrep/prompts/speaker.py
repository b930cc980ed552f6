"""Who speaks in a prompt: a persona in one of its conditions, nobody at all, or a text of one's own.

Results and studies refer to a speaker by name: "jfk", "jfk (user)", "unprompted".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from selfrep.errors import SelfrepError
from selfrep.prompts import arguments
from selfrep.prompts.battery import Item
from selfrep.prompts.personas import CONDITIONS, NEUTRAL, RESERVED, UNPROMPTED, Condition, Persona, PersonaSet
from selfrep.prompts.prompt import Prompt, prompt

SpeakerLike: TypeAlias = Persona | tuple[Persona, Condition] | Prompt | None
"""What `selfrep.pair` takes: a persona ("you are X"), a persona and a condition, a prompt, or None (unprompted)."""

_NOBODY = Persona(name="nobody", descriptions=("nobody",))


@dataclass(frozen=True)
class Speaker:
    """A persona in a condition, or a prompt of one's own.

    Fields:
        persona: whose texts are spoken; for the unprompted model anybody who brings neutral texts.
        condition: "you", "user", "book"; "neutral" for the unprompted model.
        own: a prompt whose system text is used as it is, instead of a persona.

    Example:
        >>> from selfrep.prompts.personas import builtin
        >>> jfk = builtin()["jfk"]
        >>> [Speaker.of(who).name for who in (None, jfk, (jfk, "user"))]
        ['unprompted', 'jfk', 'jfk (user)']
    """

    persona: Persona
    condition: Condition = "you"
    own: Prompt | None = None

    @classmethod
    def of(cls, who: SpeakerLike, field: str = "speaker", neutral: tuple[str, ...] = NEUTRAL) -> Speaker:
        """The speaker that a user means.

        Args:
            who: see `SpeakerLike`; field: what the error calls it; neutral: what the unprompted model is told.

        Raises:
            SelfrepError: anything else, or an unknown condition.
        """
        if who is None:
            return cls(_NOBODY.model_copy(update={"neutral": neutral}), "neutral")
        if isinstance(who, Prompt):
            return cls(_NOBODY, own=who)
        persona, condition = who if isinstance(who, tuple) and len(who) == 2 else (who, "you")
        (checked,) = arguments.names(condition, "condition", CONDITIONS)
        return cls(arguments.one(persona, Persona, field), checked)

    @classmethod
    def named(cls, name: str, people: PersonaSet) -> Speaker:
        """The speaker of that name among some personas; "default" and "reductionist" are the readings of the self.

        Raises:
            SelfrepError: there is none.

        Example:
            >>> from selfrep.prompts.personas import builtin
            >>> Speaker.named("jfk (user)", builtin()).condition, Speaker.named("default", builtin()).name
            ('user', 'smollm')
        """
        if name == UNPROMPTED:
            texts = next((persona.neutral for persona in people), NEUTRAL)
            return cls.of(None, neutral=texts)
        if name in RESERVED:
            readings = people.readings()
            if name not in readings:
                raise SelfrepError(
                    f"{name!r} is a reading of the model's own self, and none of the personas is one. Give a persona "
                    f"`reading: {name}`; there are: {', '.join(people.names())}."
                )
            return cls(readings[name])
        for condition in CONDITIONS[1:]:
            if name not in people and name.endswith(f" ({condition})"):
                return cls(people[name.removesuffix(f" ({condition})")], condition)
        return cls(people[name])

    @property
    def name(self) -> str:
        """By which results refer to it."""
        if self.own is not None:
            return self.own.persona or self.own.system
        if self.condition == "neutral":
            return UNPROMPTED
        return self.persona.name if self.condition == "you" else f"{self.persona.name} ({self.condition})"

    @property
    def n_paraphrases(self) -> int | None:
        """How many system texts it has; None for a prompt of one's own, which stays as it is."""
        return None if self.own is not None else len(self.persona.systems(self.condition))

    def prompt(self, item: Item, paraphrase: int = 0) -> Prompt:
        """What is put to the model when it is asked an item. Raises SelfrepError for a paraphrase that is not there."""
        if self.own is None:
            return prompt(self.persona, item, self.condition, paraphrase)
        return replace(self.own, turns=(item.question,), prefill=item.prefill, item=item.name, answers=item.answer_sets)
