"""A study, asked of a model that is not the embedded one: what speaks of the model's own self is said as that model.

The built-in personas and items name the embedded model and its maker. On another model these texts are replaced by
those of its own identity. Where that is not known they are left out, with the reason, and what can do without them is
run. Texts of a user's own are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selfrep.analyses.parts import Part
from selfrep.errors import SelfrepError
from selfrep.models.outline import Outline
from selfrep.prompts import battery, personas
from selfrep.prompts.battery import Item
from selfrep.prompts.choices import ItemChoice, PersonaChoice
from selfrep.prompts.identities import BUILT_IN, Identity, families, identity_of
from selfrep.prompts.persona import Persona
from selfrep.prompts.spoken import free, item_as, mentions, names_itself, own_name, persona_as, without_its_name
from selfrep.study.study import Study


@dataclass(frozen=True)
class Itself:
    """A study in which the model speaks of itself.

    Attributes:
        study: with the texts of its own identity, or without such texts; the study as it was, where it has none.
        identity: its name and maker; None where they are not known.
        reason: why its default reading is not identified, where that is so.
        left_out: personas, items and analyses that fall away → why.
    """

    study: Study
    identity: Identity | None
    reason: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What falls away, and why; nothing where nothing does."""
        if not self.left_out:
            return ""
        reasons = {
            why: [what for what, other in self.left_out.items() if other == why] for why in self.left_out.values()
        }
        return "Left out: " + "; ".join(f"{', '.join(what)} ({why})" for why, what in reasons.items()) + "."

    def record(self) -> dict[str, Any]:
        """For the provenance of a run."""
        known = {} if self.identity is None else self.identity.model_dump()
        return {**known, "reason": self.reason, "left_out": dict(self.left_out)}


def asked_as_itself(study: Study, known: Outline | None = None) -> Itself:
    """A study with what its model is tuned to call itself.

    Args:
        study: what is asked of which model; its `identity`, where it has one, is believed.
        known: the outline of the model, where that is there.

    Raises:
        SelfrepError: nothing is left to ask.

    Example:
        >>> asked = asked_as_itself(Study(name="mine", model="Qwen/Qwen2.5-7B-Instruct"))
        >>> asked.study.people.readings()["default"].system("you", 0)
        'You are Qwen, an AI assistant trained by Alibaba Cloud.'
        >>> "default" in asked_as_itself(Study(name="mine", model="somebody/pirate-7b")).study.people.readings()
        False
    """
    identity, why = (study.identity, "") if study.identity else _identity(study, known)
    if identity == families()[BUILT_IN].identity:
        return Itself(study, identity)
    as_brought = (*personas.builtin(), *battery.builtin(), *battery.identity())
    people = {n: one for n, one in _defined(study.personas).items() if one.reading == "default" and one in as_brought}
    items = {n: one for n, one in _defined(study.battery).items() if mentions(one) and one in as_brought}
    if not (people or items):
        return Itself(study, identity)
    if identity is None:
        return _without(study, people, items, why)
    renamed = {name: free(identity, {*study.people.names()} - {name}) for name in people}
    renamed |= {name: own_name(one, identity) for name, one in items.items()}
    as_it: dict[str, Any] = {name: persona_as(one, identity, renamed[name]) for name, one in people.items()}
    as_it |= {name: item_as(one, identity, renamed[name]) for name, one in items.items()}
    return Itself(
        _with(
            study,
            [as_it.get(name, one) for name, one in _defined(study.personas).items()],
            [as_it.get(name, one) for name, one in _defined(study.battery).items()],
            {
                name: _renamed(part.model_dump(mode="json", exclude_defaults=True), renamed)
                for name, part in study.parts.items()
            },
        ),
        identity,
    )


def _identity(study: Study, known: Outline | None) -> tuple[Identity | None, str]:
    """Who the model is; or why that is not known."""
    own = None if known is None else known.tokenizer.chat_template
    if known is not None and not own:
        return None, f"{study.model} has no chat template, so nothing tunes it to be anybody"
    identity = identity_of(study.model, own)
    return identity, "" if identity else (
        f"what {study.model} is tuned to call itself is not known, neither by its chat template nor by its name; give "
        "`identity: {name: …, maker: …}` in the study, or --identity NAME MAKER"
    )


def _defined(choice: PersonaChoice | ItemChoice) -> Mapping[str, Any]:
    return choice.define or {}


def _renamed(record: Any, names: Mapping[str, str]) -> Any:
    """Plain data in which personas and items go by their new names, in whatever condition."""
    if isinstance(record, dict):
        return {key: _renamed(value, names) for key, value in record.items()}
    if isinstance(record, list):
        return [_renamed(value, names) for value in record]
    if isinstance(record, str):
        name, bracket, condition = record.partition(" (")
        return names[name] + bracket + condition if name in names else record
    return record


def _without(study: Study, people: Mapping[str, Persona], items: Mapping[str, Item], why: str) -> Itself:
    """The study without the texts that nobody knows, and without the analyses that cannot do without them."""
    gone = [name for name, item in items.items() if names_itself(item)]
    left_out = {f"{kind} {name}": why for kind, names in (("persona", people), ("item", gone)) for name in names}
    listed = {name: without_its_name(item) for name, item in items.items()}
    kept = _with(
        study,
        [one for name, one in _defined(study.personas).items() if name not in people],
        [listed.get(name, one) for name, one in _defined(study.battery).items() if name not in gone],
        {},
    )
    if not len(kept.items):
        raise SelfrepError(f"Nothing of {study.name} can be asked: all its items name the model, and {why}.")
    parts: dict[str, Part] = {}
    for name, part in study.parts.items():
        among = part.among(kept.people)
        among = None if among is None else among.asking(kept.items)
        try:
            if among is not None:
                among.check(kept.material)
                parts[name] = among
        except ValueError as error:
            among, left_out[name] = None, str(error)
        if among != part:
            left_out.setdefault(name, f"{'all' if among is None else 'part'} of it reads what is left out")
    whole = _with(study, list(_defined(kept.personas).values()), list(_defined(kept.battery).values()), parts)
    return Itself(whole, None, why if people else "", left_out)


def _with(study: Study, people: list[Persona], items: list[Item], parts: Mapping[str, Any]) -> Study:
    fields = {name: getattr(study, name) for name in study.model_fields_set}
    asked = {
        "personas": PersonaChoice(define={one.name: one for one in people}),
        "battery": ItemChoice(define={one.name: one for one in items}),
        "parts": dict(parts),
    }
    return Study(**fields | asked)
