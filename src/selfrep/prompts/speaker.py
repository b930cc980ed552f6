"""Who speaks in a prompt: a persona in one of its conditions, nobody at all, or a text of one's own.

Results and studies refer to a speaker by name: "jfk", "jfk (user)", "unprompted".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import BeforeValidator

from selfrep.errors import SelfrepError, close_match
from selfrep.prompts import arguments
from selfrep.prompts.battery import Item
from selfrep.prompts.persona import CONDITIONS, NEUTRAL, RESERVED, UNPROMPTED, Condition, Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt, prompt

if TYPE_CHECKING:
    SpeakerLike: TypeAlias = Persona | tuple[Persona, Condition] | Prompt | None
else:  # at run time anything: `Speaker.of` refuses what is wrong, and says more
    SpeakerLike = Any
"""What `selfrep.pair` takes: a persona ("you are X"), a persona and a condition, a prompt, or None (unprompted)."""

_NOBODY = Persona(name="nobody", descriptions=("nobody",))


def named_in(persona: str, condition: Condition) -> str:
    """The name of a persona in a condition.

    Example:
        >>> named_in("jfk", "you"), named_in("jfk", "user"), named_in("jfk", "neutral")
        ('jfk', 'jfk (user)', 'unprompted')
    """
    if condition == "neutral":
        return UNPROMPTED
    return persona if condition == "you" else f"{persona} ({condition})"


def _written(end: Any) -> Any:
    """The name of what a study writes as {persona: jfk, condition: user}; anything else as it is."""
    if not isinstance(end, dict):
        return end
    persona, condition = end.get("persona"), end.get("condition", "you")
    if not isinstance(persona, str) or set(end) - {"persona", "condition"}:
        raise ValueError(f"a speaker is a name, or {{persona: name, condition: user}}; got {end}")
    if condition not in CONDITIONS:
        raise ValueError(
            f"a condition is one of {', '.join(CONDITIONS)}; got {condition!r}{close_match(condition, CONDITIONS)}"
        )
    return named_in(persona, condition)


SpeakerName: TypeAlias = Annotated[str, BeforeValidator(_written)]
"""The name of a speaker in a study: "jfk", "unprompted", "jfk (user)", or {persona: jfk, condition: user}, its name."""


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
        persona, condition = name, CONDITIONS[0]
        for other in CONDITIONS[1:]:
            if name not in people and name.endswith(f" ({other})"):
                persona, condition = name.removesuffix(f" ({other})"), other
        if persona not in people:
            hint = close_match(persona, (*people.names(), *RESERVED))
            raise SelfrepError(
                f"There is no persona named {persona!r}{hint}. There are: {', '.join(people.names())}; and, of the "
                f"model's own self, {', '.join(RESERVED)}."
            )
        return cls(people[persona], condition)

    @classmethod
    def is_among(cls, name: str, people: PersonaSet) -> bool:
        """Whether `named` finds a speaker among some personas.

        Example:
            >>> from selfrep.prompts.personas import builtin
            >>> Speaker.is_among("jfk (user)", builtin()), Speaker.is_among("default", builtin().select(["jfk"]))
            (True, False)
        """
        try:
            cls.named(name, people)
        except SelfrepError:
            return False
        return True

    @property
    def name(self) -> str:
        """By which results refer to it."""
        if self.own is not None:
            return self.own.persona or self.own.system
        return named_in(self.persona.name, self.condition)

    @property
    def like(self) -> SpeakerLike:
        """The speaker as `selfrep.pair` takes it."""
        if self.own is not None:
            return self.own
        return None if self.condition == "neutral" else (self.persona, self.condition)

    @property
    def label(self) -> str:
        """What figures and sentences call it."""
        if self.own is not None:
            return self.name
        return "no persona" if self.condition == "neutral" else named_in(self.persona.label, self.condition)

    @property
    def family(self) -> str:
        """With whom it is counted as one."""
        if self.own is not None:
            return self.own.family or self.name
        return UNPROMPTED if self.condition == "neutral" else self.persona.family

    @property
    def is_self(self) -> bool:
        """Whether it is a reading of the model's own self: unprompted, default or reductionist."""
        spoken = self.condition == "neutral" or (self.condition == "you" and bool(self.persona.reading))
        return self.own is None and spoken

    @property
    def n_paraphrases(self) -> int | None:
        """How many system texts it has; None for a prompt of one's own, which stays as it is."""
        return None if self.own is not None else len(self.persona.systems(self.condition))

    def prompt(self, item: Item, paraphrase: int = 0) -> Prompt:
        """What is put to the model when it is asked an item. Raises SelfrepError for a paraphrase that is not there."""
        if self.own is None:
            return prompt(self.persona, item, self.condition, paraphrase)
        asked = replace(self.own, turns=(item.question,), prefill=item.prefill, item=item.name)
        return replace(asked, answers=item.answer_sets, names=item.names)
