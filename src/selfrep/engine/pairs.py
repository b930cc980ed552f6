"""Which prompt is patched into which: two personas under one question, and the controls that belong beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import get_args

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts import arguments
from selfrep.prompts.alignment import Direction, PromptPair, swapped
from selfrep.prompts.answers import readable_answers
from selfrep.prompts.arguments import Several
from selfrep.prompts.battery import Battery, Item
from selfrep.prompts.chat import ChatFormat
from selfrep.prompts.persona import NEUTRAL, Persona
from selfrep.prompts.personas import PersonaSet
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import Tokens, render
from selfrep.prompts.speaker import Speaker, SpeakerLike

CONTROLS = ("paraphrase", "persona", "random")
"""The kinds of pairs that real ones are compared with."""


def pair(
    lm: LanguageModel,
    source: SpeakerLike,
    target: SpeakerLike,
    items: Several[Item] | None = None,
    *,
    paraphrases: Several[int] | None = None,
    directions: Several[Direction] = ("denoise", "noise"),
    answer: str | None = None,
) -> list[PromptPair]:
    """Pairs of prompts that differ only in their system text.

    Args:
        source: whose activations are taken ("denoise"; in "noise" the two change places): a persona ("you are X"), a
            persona and a condition (`(jfk, "user")`), a `Prompt`, of which the system text is used, or None: the
            unprompted model, with no persona at all.
        target: into whose run they are put; likewise.
        items: the questions to both. May be left out where one of the two is a `Prompt`, whose question is then asked.
        paraphrases: which paraphrases (the same number in both); all that both have when None.
        directions: "denoise", "noise", or both.
        answer: how both prompts go on after the prefill, for metrics that read a whole answer (`sequence_log_prob`);
            its tokens form the segment "answer", and positions count from its last one.

    Returns:
        pairs, by item, paraphrase and direction. Their `source_name` and `target_name` are "jfk", "jfk (user)" or
        "unprompted".

    Raises:
        SelfrepError: no item, a paraphrase that is not there, an item of which too few answers can be read.

    Example:
        >>> import selfrep as sr
        >>> from selfrep.models.organisms import BATTERY, PERSONAS
        >>> lm = sr.load_model("organism:separate")
        >>> people, battery = sr.personas.load(PERSONAS), sr.battery.load(BATTERY)
        >>> pairs = sr.pair(lm, None, people["nurse"], battery["who_are_you"], paraphrases=0)
        >>> [(one.source_name, one.target_name, one.direction) for one in pairs]
        [('unprompted', 'nurse', 'denoise'), ('nurse', 'unprompted', 'noise')]
    """
    arguments.one(lm, LanguageModel, "model")
    ends = _speakers(source, target)
    directions = arguments.names(directions, "direction", get_args(Direction))
    chat = lm.chat
    shared = range(min((end.n_paraphrases for end in ends if end.n_paraphrases is not None), default=1))
    chosen = shared if paraphrases is None else arguments.numbers(paraphrases, "paraphrases")
    asked = [_question(end.own for end in ends)] if items is None else arguments.several(items, Item)
    out = []
    for item in asked:
        answers = readable_answers(chat, item.prefill, item.answer_sets, names=item.names).ids
        for k in chosen:
            source_tokens, target_tokens = (_with_answer(end.prompt(item, k), answer, chat) for end in ends)
            real = PromptPair(
                source=source_tokens,
                target=target_tokens,
                source_name=ends[0].name,
                target_name=ends[1].name,
                item=item.name,
                direction="denoise",
                answers=answers,
                source_paraphrase=k,
                target_paraphrase=k,
                source_family=ends[0].family,
                target_family=ends[1].family,
            )
            out += [real if direction == "denoise" else swapped(real) for direction in directions]
    if not out:
        raise SelfrepError("There is nothing to pair: give at least one item and one paraphrase.")
    return out


def _speakers(source: SpeakerLike, target: SpeakerLike) -> tuple[Speaker, Speaker]:
    """Both ends; the unprompted model is told the neutral texts that the other end brings."""
    personas = [who[0] if isinstance(who, tuple) and who else who for who in (source, target)]
    neutral = next((who.neutral for who in personas if isinstance(who, Persona)), NEUTRAL)
    return Speaker.of(source, "source", neutral), Speaker.of(target, "target", neutral)


def _question(prompts: Iterable[Prompt | None]) -> Item:
    """The one question of the prompts, as an item."""
    given = [prompt for prompt in prompts if prompt is not None]
    questions = {(prompt.turns, prompt.prefill, prompt.answers) for prompt in given}
    if len(questions) != 1 or len(given[0].turns) != 1 or given[0].answers is None:
        raise SelfrepError(
            "Both ends of a pair are asked the same question: give items=, or two Prompts with one question, one "
            f"prefill and the same answers; got {[(prompt.question, prompt.prefill) for prompt in given] or 'no item'}."
        )
    first, second = given[0].answers
    return Item(
        name=given[0].item or given[0].question,
        question=given[0].question,
        prefill=given[0].prefill,
        answers={"first": first, "second": second},
        names=given[0].names,
        perspective="in_character",
    )


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
        others: for each speaker's name, that of another who should do nothing: of a persona another of its side, of
            "unprompted" the tuned default. A speaker without one has no "persona" control.

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
    chat = lm.chat
    personas, items = PersonaSet(arguments.several(personas, Persona)), Battery(arguments.several(items, Item))
    kinds = arguments.names(kinds, "control", CONTROLS)
    out = []
    for real in arguments.several(pairs, PromptPair):
        for kind in kinds:
            control = replace(real, control=kind, reference=real.source)
            if kind == "paraphrase":
                own = Speaker.named(real.target_name, personas)
                if (own.n_paraphrases or 1) < 2:
                    raise SelfrepError(
                        f"A paraphrase control needs a persona with two paraphrases; {own.name!r} has one."
                    )
                control = _spoken(control, own, real.target_paraphrase + 1, items[real.item], chat)
            elif kind == "persona":
                if real.target_name not in others:
                    continue
                other = Speaker.named(others[real.target_name], personas)
                control = _spoken(control, other, real.target_paraphrase, items[real.item], chat)
            out.append(control)
    return out


def _spoken(control: PromptPair, who: Speaker, paraphrase: int, item: Item, chat: ChatFormat) -> PromptPair:
    """The control with this source, in a paraphrase that it has."""
    k = paraphrase % (who.n_paraphrases or 1)
    return replace(
        control,
        source=render(who.prompt(item, k), chat),
        source_name=who.name,
        source_family=who.family,
        source_paraphrase=k,
    )
