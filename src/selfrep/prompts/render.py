"""From what is said to the tokens that a model reads, each token knowing which part of the conversation it belongs to.

A chat template is a program: it may move, trim or drop what it is given, and it adds words of its own (some insert a
system prompt that nobody asked for). So nothing is guessed about it. The conversation is rendered twice, once with
marks in place of its texts and once as it is; the marks show where every text lies, and the two renderings must agree
letter for letter. The whole text is then tokenised once, and each token is labelled by where it starts, the space
before a word left aside.

    >>> chat = chat_format(tokenizer)
    >>> render(Prompt(system="You are a nurse.", turns=("Who are you?",), prefill="I am a"), chat).segments
    ('template', 'template', 'template', 'system', ..., 'question', ..., 'template', ..., 'prefill')
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from selfrep.errors import SelfrepError
from selfrep.prompts import arguments
from selfrep.prompts.arguments import Several
from selfrep.prompts.battery import Item
from selfrep.prompts.personas import CONDITIONS, Condition, Persona
from selfrep.prompts.questions import AnswerSets
from selfrep.prompts.shown import shown

PromptCondition: TypeAlias = Condition | Literal["truth"]
"""How a persona is spoken of in a prompt: in one of its own conditions, or "truth": as in "you", and then the item's
`truth_change`, a sentence that really makes another answer right. It is the positive control of what is held true."""

PROMPT_CONDITIONS: tuple[PromptCondition, ...] = (*CONDITIONS, "truth")

Tokenizer: TypeAlias = Any
"""Any Hugging Face fast tokenizer. This room does not import transformers: tokenizers are handed in."""

SEGMENTS = ("system", "template", "question", "prefill")
"""The parts of a prompt; earlier turns, where there are any, are "history"."""

PLAIN_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- if message['content'] -%}{{ message['content'] + '\n\n' }}{%- endif -%}
{%- elif message['role'] == 'user' -%}{{ 'User: ' + message['content'] + '\n' }}
{%- else -%}{{ 'Assistant: ' + message['content'] + '\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}
"""
"""A dialogue in plain text, for base models that come without a chat template."""


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
    personas: Several[Persona],
    items: Several[Item],
    conditions: Several[PromptCondition] = ("you",),
    paraphrases: Several[int] | None = None,
) -> list[Prompt]:
    """Every item asked of every persona in the given conditions and paraphrases (None: all that each persona has).

    Prompts with the same system text stand together. Neutral prompts, alike for all personas, appear once each.
    Raises SelfrepError when a persona lacks a condition or paraphrase that is asked for, and, in the condition "truth",
    when an item has no `truth_change` (`battery.changeable()` holds those that have one).
    """
    items = arguments.several(items, Item)
    conditions = arguments.names(conditions, "condition", PROMPT_CONDITIONS)
    chosen = None if paraphrases is None else arguments.numbers(paraphrases, "paraphrases")
    made = {
        prompt(persona, item, condition, k): None
        for persona in arguments.several(personas, Persona)
        for condition in conditions
        for k in (range(_paraphrases(persona, condition)) if chosen is None else chosen)
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


TemplateName = Literal["model", "plain", "custom"]


@dataclass(frozen=True, eq=False)
class ChatFormat:
    """How conversations become text for one tokenizer; made by `chat_format`.

    Fields:
        tokenizer: a Hugging Face fast tokenizer.
        template: the Jinja text given to apply_chat_template; None for the tokenizer's own.
        name: "model" (the tokenizer's own template), "plain" (it has none) or "custom".
        system_role: False when system texts must be folded into the first user turn.
    """

    tokenizer: Tokenizer
    template: str | None
    name: TemplateName
    system_role: bool

    @property
    def text(self) -> str:
        """The Jinja text in use, for the record."""
        if self.template is not None:
            return self.template
        own = self.tokenizer.chat_template
        return str(own.get("default", own) if isinstance(own, dict) else own)


@dataclass(frozen=True)
class Tokens:
    """A rendered prompt: token ids, the segment of each, and its text, decoded on its own."""

    ids: tuple[int, ...]
    segments: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


_probes: WeakKeyDictionary[Tokenizer, dict[tuple[str | None, str], tuple[str | None, TemplateName, bool]]] = (
    WeakKeyDictionary()
)
"""What was found out about the templates of a tokenizer, which is not kept alive by it."""


def chat_format(tokenizer: Tokenizer, template: str | None = None) -> ChatFormat:
    """Find out how to talk to a model.

    Args:
        tokenizer: a Hugging Face fast tokenizer.
        template: a Jinja chat template to use instead of the tokenizer's own, or of the plain dialogue when it has
            none.

    Whether the template knows a system role is tried, not read, once for each tokenizer and template: one that refuses
    system messages, and one that silently drops them, both get the system text at the head of the first user turn.

    Raises SelfrepError for a slow tokenizer, or a template that fails on the simplest conversation or loses its texts.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise SelfrepError(
            f"Segments need a tokenizer that reports character offsets; got {type(tokenizer).__name__}. "
            f"Load the fast one: AutoTokenizer.from_pretrained(name, use_fast=True)."
        )
    probes = _probes.setdefault(tokenizer, {})
    key = template, repr(tokenizer.chat_template)  # a tokenizer may be given another template
    if key not in probes:
        chat = _probe(tokenizer, template)
        probes[key] = chat.template, chat.name, chat.system_role
    return ChatFormat(tokenizer, *probes[key])


def _probe(tokenizer: Tokenizer, template: str | None) -> ChatFormat:
    """Try whether a template knows a system role, and whether it keeps what is said."""
    name: TemplateName = "custom"
    if template is None:
        own = tokenizer.chat_template
        template, name = (None, "model") if own else (PLAIN_TEMPLATE, "plain")
    kept: list[int] = []
    for system_role in (True, False):
        chat = ChatFormat(tokenizer, template, name, system_role)
        try:
            kept = [slot for slot, _ in _marked(chat, ("system", "question", "prefill")) if slot is not None]
        except SelfrepError:
            if not system_role:
                raise
        if kept == [0, 1, 2]:
            return chat
    raise SelfrepError(
        f"The {name} chat template loses, repeats or reorders what is said: of system text, question and prefill "
        f"(0, 1, 2) it shows {kept}. Give another template: Jinja text that shows the 'content' of every message once."
    )


def render(prompt: Prompt, chat: ChatFormat) -> Tokens:
    """The token ids of a prompt, each labelled with its segment.

    Special tokens come from the template. Where the template is not the model's own and lacks the beginning-of-text
    token that the tokenizer would put first, that token is added.

    Raises SelfrepError when the template alters what is said, so that its parts cannot be told apart.
    """
    spans = _spans(prompt, chat)
    text = "".join(piece for _, piece in spans)
    encoded = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    starts = list(accumulate((len(piece) for _, piece in spans[:-1]), initial=0))
    labels = [spans[bisect.bisect_right(starts, _at(text, *span)) - 1][0] for span in encoded["offset_mapping"]]
    opening = _opening(chat, ids)
    return Tokens(
        ids=(*opening, *ids),
        segments=(*("template" for _ in opening), *labels),
        texts=tuple(chat.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in (*opening, *ids)),
    )


def answer_ids(chat: ChatFormat, prefill: str, answers: Sequence[str]) -> tuple[int, ...]:
    """The token of each answer where it is read: after the template's opening of the turn, and the prefill.

    Args:
        answers: texts of one side, as they continue the prefill (" computer" after "I am a").

    Raises SelfrepError when there are no answers, when two are the same token, or when one is not exactly one token.
    """
    if isinstance(answers, str) or not answers:
        raise SelfrepError(f"An answer set needs at least one text, in a list; got {answers!r}.")
    before = "".join(text for _, text in _spans(Prompt("System.", ("Question?",), prefill), chat))
    texts = [before, *(before + answer for answer in answers)]
    context, *continued = chat.tokenizer(texts, add_special_tokens=False)["input_ids"]
    ids: dict[int, str] = {}
    for answer, tokens in zip(answers, continued, strict=True):
        if tokens[:-1] != context:
            shared = next((i for i, (a, b) in enumerate(zip(context, tokens, strict=False)) if a != b), len(context))
            pieces = [chat.tokenizer.decode([i]) for i in tokens[shared:]]
            why = (
                f"it changes how the prefill {prefill!r} is cut (from there on: {pieces})"
                if shared < len(context)
                else f"it is {len(pieces)} tokens: {pieces}"
            )
            raise SelfrepError(
                f"Each answer must be a single token after {prefill!r}; {answer!r} is not: {why}. "
                f"Choose a shorter word, or check the space before it."
            )
        if tokens[-1] in ids:
            raise SelfrepError(
                f"{ids[tokens[-1]]!r} and {answer!r} are the same token ({tokens[-1]}); keep one of them."
            )
        ids[tokens[-1]] = answer
    return tuple(ids)


def answer_sides(chat: ChatFormat, prefill: str, answers: AnswerSets) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens of both answer sets. Raises SelfrepError as `answer_ids` does, and when one token is on both sides."""
    first, second = (answer_ids(chat, prefill, side) for side in answers)
    if both := set(first) & set(second):
        texts = [chat.tokenizer.decode([i]) for i in sorted(both)]
        raise SelfrepError(
            f"An answer may stand on one side only; after {prefill!r} both sides hold the token(s) {texts}."
        )
    return first, second


def _spans(prompt: Prompt, chat: ChatFormat) -> list[tuple[str, str]]:
    """The rendered text, cut into (segment, text) pieces that join to exactly what the template makes of the prompt."""
    said = (prompt.system, *prompt.turns, prompt.prefill)
    if not chat.system_role:  # the folded texts are set apart by a blank line, and by nothing else
        said = (said[0].strip(), said[1].strip(), *said[2:])
    segments = ("system", *("history" for _ in prompt.turns[1:]), "question", "prefill")
    rendered = _rendered(chat, said)
    pieces = _marked(chat, said)
    for clean in (str, str.strip):  # many templates trim what they are given
        spans = [("template", text) if slot is None else (segments[slot], clean(said[slot])) for slot, text in pieces]
        if "".join(text for _, text in spans) == rendered:
            return [(segment, text) for segment, text in spans if text]
    raise SelfrepError(
        f"The {chat.name} chat template changes the texts it is given, so that the parts of the prompt cannot be found "
        f"again. It made {rendered!r} of {said!r}. Give another template."
    )


_MARK = re.compile("\ue000(\\d+)\ue001")


def _marked(chat: ChatFormat, said: tuple[str, ...]) -> list[tuple[int | None, str]]:
    """What the template puts around the texts: its own words (None, text) and marks (index in `said`, "").

    Empty texts stay empty, since templates may treat them differently.
    """
    pieces = _MARK.split(_rendered(chat, tuple(f"\ue000{i}\ue001" if text else "" for i, text in enumerate(said))))
    return [(int(piece), "") if k % 2 else (None, piece) for k, piece in enumerate(pieces)]


def _rendered(chat: ChatFormat, said: tuple[str, ...]) -> str:
    """The template's text for (system, turns ..., prefill), ending where the model goes on writing."""
    system, *turns, prefill = said
    messages = [{"role": "system", "content": system}] if chat.system_role else []
    if system and not chat.system_role:
        turns[0] = f"{system}\n\n{turns[0]}"
    messages += [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]
    if prefill:
        messages.append({"role": "assistant", "content": prefill})
    try:
        text = chat.tokenizer.apply_chat_template(
            messages,
            chat_template=chat.template,
            tokenize=False,
            add_generation_prompt=not prefill,
            continue_final_message=bool(prefill),
        )
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        roles = ", ".join(message["role"] for message in messages)
        raise SelfrepError(
            f"The {chat.name} chat template refuses a conversation of {roles}: {error}. Give another template."
        ) from error
    return str(text)


def _at(text: str, start: int, end: int) -> int:
    """Where a token stands: its first character that is no space, or its first character."""
    if start == end:  # spaces only, which some tokenizers leave out of their offsets
        return max(start - 1, 0)
    inside = text[start:end]
    return start + (len(inside) - len(inside.lstrip()) if inside.strip() else 0)


def _opening(chat: ChatFormat, ids: list[int]) -> list[int]:
    """The tokens that the tokenizer puts before any text, unless the template is the model's own or brings them."""
    if chat.name == "model":
        return []
    bare, full = (chat.tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    opening = list(full[: _find(full, bare)])
    return [] if ids[: len(opening)] == opening else opening


def _find(full: list[int], part: list[int]) -> int:
    return next((i for i in range(len(full)) if full[i : i + len(part)] == part), 0)
