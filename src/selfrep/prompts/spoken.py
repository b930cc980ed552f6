"""The built-in texts that name the embedded model, spoken by another model about itself.

A persona or an item that says SmolLM, told to another model, makes it play a role like any other. Here it gets the name
and the maker of the model that is asked; or, where nobody knows them, what is left of it without a name.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from selfrep.prompts.identities import BUILT_IN, Identity, families

if TYPE_CHECKING:
    from selfrep.prompts.battery import Item
    from selfrep.prompts.persona import Persona

OWN = {"name": "name", "maker": "maker"}
"""Subscales whose first side is the model's own → which part of its identity that is."""


def persona_as(one: Persona, identity: Identity, name: str) -> Persona:
    """A persona that names the embedded model, as another model is told it; `name` is what studies call it.

    Example:
        >>> from selfrep.prompts.personas import builtin
        >>> zed = Identity(name="Zed", maker="the firm Zeta")
        >>> persona_as(builtin()["smollm"], zed, "zed").system("you", 0)
        'You are Zed, an AI assistant trained by the firm Zeta.'
    """
    texts = {field: tuple(map(identity.speaks, getattr(one, field))) for field in ("descriptions", "you", "user")}
    family = name if one.family == one.name else one.family
    return one.model_copy(update={**texts, "name": name, "family": family, "label": identity.name})


def free(identity: Identity, taken: Collection[str]) -> str:
    """What a persona of this identity is called: another may be the same system, seen from outside.

    Example:
        >>> free(Identity(name="ChatGPT", maker="OpenAI"), ["chatgpt", "nurse"])
        'own_chatgpt'
    """
    return f"own_{identity.key}" if identity.key in taken else identity.key


def names_itself(item: Item) -> bool:
    """Whether an item cannot be asked without the name or the maker of the model.

    Example:
        >>> from selfrep.prompts.battery import builtin
        >>> [item.name for item in builtin() if names_itself(item)]
        ['smollm_program']
    """
    embedded = families()[BUILT_IN].name
    texts = (item.question, item.prefill, item.truth_change or "", item.truth_echo or "")
    return item.subscale in OWN or any(embedded in text for text in texts)


def mentions(item: Item) -> bool:
    """Whether a text or an answer of an item names the embedded model.

    Example:
        >>> from selfrep.prompts.battery import builtin
        >>> [item.name for item in builtin() if mentions(item)]
        ['own_name', 'smollm_program']
    """
    return names_itself(item) or any(_of_embedded(answer) for side in item.answer_sets for answer in side)


def own_name(item: Item, identity: Identity) -> str:
    """What studies call an item once another model is asked it; most names name nobody.

    Example:
        >>> from selfrep.prompts.battery import builtin
        >>> own_name(builtin()["smollm_program"], Identity(name="Zed", maker="the firm Zeta"))
        'zed_program'
    """
    return item.name.replace(BUILT_IN, identity.key)


def item_as(one: Item, identity: Identity, name: str) -> Item:
    """An item that names the embedded model, as another model is asked it; `name` is what studies call it.

    Example:
        >>> from selfrep.prompts.battery import identity
        >>> zed = Identity(name="Zed", maker="the firm Zeta")
        >>> item_as(identity()["developed_by"], zed, "developed_by").answers["own"]
        (' the firm Zeta',)
    """
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


def without_its_name(item: Item) -> Item:
    """An item that lists the embedded model among other answers, without it.

    Example:
        >>> from selfrep.prompts.battery import builtin
        >>> without_its_name(builtin()["own_name"]).answers["ai"][:2]
        (' AI', ' ChatGPT')
    """
    answers = {side: tuple(word for word in words if not _of_embedded(word)) for side, words in item.answers.items()}
    return item.model_copy(update={"answers": answers})


def _of_embedded(answer: str) -> bool:
    return answer.strip() == families()[BUILT_IN].name


def _same_beginning(answer: str, word: str) -> bool:
    """Whether an answer and a name may begin alike: then it cannot be told which of the two is said."""
    text = answer.strip().casefold()
    return text.startswith(word) or word.startswith(text)
