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
from selfrep.prompts.personas import Persona
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
    items = {n: one for n, one in _defined(study.battery).items() if _mentions(one) and one in as_brought}
    if not (people or items):
        return Itself(study, identity)
    if identity is None:
        return _without(study, people, items, why)
    renamed = {name: _free(identity.key, {*study.people.names()} - {name}) for name in people}
    renamed |= {name: name.replace(BUILT_IN, identity.key) for name in items}  # most names name nobody
    as_it: dict[str, Any] = {name: _persona(one, identity, renamed[name]) for name, one in people.items()}
    as_it |= {name: _item(one, identity, renamed[name]) for name, one in items.items()}
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


OWN = {"name": "name", "maker": "maker"}
"""Subscales whose first side is the model's own → which part of its identity that is."""


def _names_itself(item: Item) -> bool:
    embedded = families()[BUILT_IN].name
    texts = (item.question, item.prefill, item.truth_change or "", item.truth_echo or "")
    return item.subscale in OWN or any(embedded in text for text in texts)


def _mentions(item: Item) -> bool:
    """Whether a text or an answer of an item names the embedded model."""
    return _names_itself(item) or any(_of_embedded(answer) for side in item.answer_sets for answer in side)


def _of_embedded(answer: str) -> bool:
    return answer.strip() == families()[BUILT_IN].name


def _persona(one: Persona, identity: Identity, name: str) -> Persona:
    texts = {field: tuple(map(identity.speaks, getattr(one, field))) for field in ("descriptions", "you", "user")}
    family = name if one.family == one.name else one.family
    return one.model_copy(update={**texts, "name": name, "family": family, "label": identity.name})


def _item(one: Item, identity: Identity, name: str) -> Item:
    texts = ("question", "prefill", "truth_change", "truth_echo")
    spoken = {field: text and identity.speaks(text) for field in texts if (text := getattr(one, field)) is not None}
    answers = {side: tuple(dict.fromkeys(map(identity.speaks, words))) for side, words in one.answers.items()}
    if one.subscale in OWN:
        word = str(getattr(identity, OWN[one.subscale]))
        own, another = answers
        begins = word.split()[0].casefold()
        others = tuple(other for other in answers[another] if not _same_beginning(other, begins))
        answers = {own: (f" {word}",), another: others}
    return one.model_copy(update={**spoken, "name": name, "answers": answers})


def _same_beginning(answer: str, word: str) -> bool:
    """Whether an answer and a name may begin alike: then it cannot be told which of the two is said."""
    text = answer.strip().casefold()
    return text.startswith(word) or word.startswith(text)


def _free(name: str, taken: set[str]) -> str:
    """A name that nobody has: another persona may be the same system, seen from outside."""
    return name if name not in taken else f"own_{name}"


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
    gone = [name for name, item in items.items() if _names_itself(item)]
    left_out = {f"{kind} {name}": why for kind, names in (("persona", people), ("item", gone)) for name in names}
    listed = {name: _without_its_name(item) for name, item in items.items()}
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


def _without_its_name(item: Item) -> Item:
    """An item that lists the embedded model among other answers, without it."""
    answers = {side: tuple(word for word in words if not _of_embedded(word)) for side, words in item.answers.items()}
    return item.model_copy(update={"answers": answers})


def _with(study: Study, people: list[Persona], items: list[Item], parts: Mapping[str, Any]) -> Study:
    fields = {name: getattr(study, name) for name in study.model_fields_set}
    asked = {
        "personas": PersonaChoice(define={one.name: one for one in people}),
        "battery": ItemChoice(define={one.name: one for one in items}),
        "parts": dict(parts),
    }
    return Study(**fields | asked)
