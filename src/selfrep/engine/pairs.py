"""Which prompt is patched into which: two personas under one question, and the controls that belong beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.alignment import Direction, PromptPair, swapped
from selfrep.prompts.arguments import Several
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.chat import ChatFormat, chat_format
from selfrep.prompts.personas import Persona, PersonaSet
from selfrep.prompts.prompt import Prompt, prompt
from selfrep.prompts.render import Tokens, answer_sides, render

CONTROLS = ("paraphrase", "persona", "random")
"""The kinds of pairs that real ones are compared with."""


def pair(
    lm: LanguageModel,
    source: Persona,
    target: Persona,
    items: Several[Item],
    *,
    paraphrases: Several[int] | None = None,
    directions: Several[Direction] = ("denoise", "noise"),
    answer: str | None = None,
) -> list[PromptPair]:
    """Pairs of prompts that differ only in their system text.

    Args:
        source: whose activations are taken ("denoise"; in "noise" the two change places).
        target: into whose run they are put.
        items: the questions to both.
        paraphrases: which paraphrases (the same number in both); all that both have when None.
        directions: "denoise", "noise", or both.
        answer: how both prompts go on after the prefill, for metrics that read a whole answer (`sequence_log_prob`);
            its tokens form the segment "answer", and positions count from its last one.

    Raises:
        SelfrepError: no item, a paraphrase that is not there, answers that are not single tokens.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> pairs = sr.pair(lm, people["robot"], people["nurse"], battery["who_are_you"], paraphrases=0)
        >>> [one.direction for one in pairs]
        ['denoise', 'noise']
    """
    arguments.one(lm, LanguageModel, "model")
    source, target = arguments.one(source, Persona, "source"), arguments.one(target, Persona, "target")
    directions = arguments.names(directions, "direction", get_args(Direction))
    if lm.tokenizer is None:
        raise SelfrepError(
            "Prompts are text: pass the model's tokenizer to load_model(model, tokenizer=...), or use patch_tokens."
        )
    chat = chat_format(lm.tokenizer, lm.chat_template)
    shared = range(min(source.n_paraphrases, target.n_paraphrases))
    chosen = shared if paraphrases is None else arguments.numbers(paraphrases, "paraphrases")
    out = []
    for item in arguments.several(items, Item):
        answers = answer_sides(chat, item.prefill, item.answer_sets)
        for k in chosen:
            real = PromptPair(
                source=_with_answer(prompt(source, item, "you", k), answer, chat),
                target=_with_answer(prompt(target, item, "you", k), answer, chat),
                source_name=source.name,
                target_name=target.name,
                item=item.name,
                direction="denoise",
                answers=answers,
                source_paraphrase=k,
                target_paraphrase=k,
            )
            out += [real if direction == "denoise" else swapped(real) for direction in directions]
    if not out:
        raise SelfrepError("There is nothing to pair: give at least one item and one paraphrase.")
    return out


def equal_lengths(pairs: Several[PromptPair]) -> list[PromptPair]:
    """The pairs whose two prompts have the same number of tokens: those that a prefix patch can use.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> pairs = sr.pair(lm, people["robot"], people["nurse"], battery["who_are_you"], paraphrases=0)
        >>> len(pairs), len(sr.equal_lengths(pairs))
        (2, 0)
    """
    return [pair for pair in arguments.several(pairs, PromptPair) if len(pair.source) == len(pair.target)]


def _with_answer(question: Prompt, answer: str | None, chat: ChatFormat) -> Tokens:
    """The prompt's tokens, and those of the answer in a segment of their own."""
    bare = render(question, chat)
    if not answer:
        return bare
    whole = render(replace(question, prefill=question.prefill + answer), chat)
    if whole.ids[: len(bare)] != bare.ids or len(whole) == len(bare):
        raise SelfrepError(
            f"An answer begins with a token of its own; after {question.prefill!r} the tokenizer joins {answer!r} "
            "to the prefill. Begin it with a space."
        )
    return replace(whole, segments=bare.segments + ("answer",) * (len(whole) - len(bare)))


def controls(
    lm: LanguageModel,
    pairs: Several[PromptPair],
    personas: Several[Persona],
    items: Several[Item],
    others: Mapping[str, str],
    kinds: Several[str] = CONTROLS,
) -> list[PromptPair]:
    """For each real pair, sources that should do nothing, to be measured on the real pair's scale.

    "paraphrase": another paraphrase of the target's own persona. "persona": another persona of the target's side.
    "random": the target's own activation, moved in a random direction as far as the real source would move it.

    Args:
        personas, items: those that the names in the pairs stand for.
        others: for each persona's name, that of another of its side.

    Raises:
        SelfrepError: a persona with a single paraphrase, asked for a paraphrase control.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> robot, nurse, item = people["robot"], people["nurse"], battery["who_are_you"]
        >>> pairs = sr.pair(lm, robot, nurse, item, paraphrases=0, directions="denoise")
        >>> control, = sr.controls(lm, pairs, people, battery, {"nurse": "sailor"}, kinds="persona")
        >>> control
        PromptPair(source='sailor', target='nurse', item='who_are_you', direction='denoise', ..., control='persona',...)
    """
    chat = chat_format(lm.tokenizer, lm.chat_template)
    personas, items = PersonaSet(arguments.several(personas, Persona)), Battery(arguments.several(items, Item))
    kinds = arguments.names(kinds, "control", CONTROLS)
    out = []
    for real in arguments.several(pairs, PromptPair):
        own, item = personas[real.target_name], items[real.item]
        for kind in kinds:
            control = replace(real, control=kind, reference=real.source)
            if kind != "random":
                source = own if kind == "paraphrase" else personas[others[own.name]]
                k = (real.target_paraphrase + (kind == "paraphrase")) % source.n_paraphrases
                if kind == "paraphrase" and source.n_paraphrases < 2:
                    raise SelfrepError(
                        f"A paraphrase control needs a persona with two paraphrases; {own.name!r} has one."
                    )
                text = render(prompt(source, item, "you", k), chat)
                control = replace(control, source=text, source_name=source.name, source_paraphrase=k)
            out.append(control)
    return out
