"""From the texts of a prompt to the one text that a model reads, with the place of every text inside it.

A chat template is a program: it may move, trim or drop what it is given, and it adds words of its own (some insert a
system prompt where none was given). So nothing is assumed about it. The conversation is rendered twice, once with marks
in place of its texts and once as it is. The marks show where every text lies, and the two renderings must agree letter
for letter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from selfrep.errors import SelfrepError
from selfrep.prompts.prompt import Prompt

Tokenizer: TypeAlias = Any
"""Any Hugging Face fast tokenizer. This room does not import transformers: tokenizers are handed in."""

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

TemplateName = Literal["model", "plain", "custom"]


@dataclass(frozen=True, eq=False)
class ChatFormat:
    """How conversations become text for one tokenizer. Made by `chat_format`.

    Fields:
        tokenizer: a Hugging Face fast tokenizer.
        template: the Jinja text given to apply_chat_template; None for the tokenizer's own.
        name: "model" (the tokenizer's own template), "plain" (it has none) or "custom".
        system_role: False when a system text must become the beginning of the first user turn.

    Example: see `chat_format`.
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


_probes: WeakKeyDictionary[Tokenizer, dict[tuple[str | None, str], tuple[str | None, TemplateName, bool]]] = (
    WeakKeyDictionary()
)
"""Tokenizer → what was learned of its templates. A tokenizer that nobody else uses is forgotten."""


def chat_format(tokenizer: Tokenizer, template: str | None = None) -> ChatFormat:
    """How to put conversations to a model, learned from its chat template.

    Args:
        tokenizer: a Hugging Face fast tokenizer.
        template: a Jinja chat template to use instead of the tokenizer's own, or of the plain dialogue when it has
            none.

    Whether the template knows a system role is tried once for each tokenizer and template. A template that refuses
    system messages, or silently drops them, gets the system text at the beginning of the first user turn.

    Returns:
        `ChatFormat`: the `tokenizer`, the `template` in use (None: the tokenizer's own), its `name` and `system_role`.

    Raises:
        SelfrepError: a slow tokenizer, or a template that fails on the simplest conversation or loses its texts.

    Example:
        >>> from selfrep.models import organisms
        >>> chat = chat_format(organisms.tokenizer())
        >>> chat.name, chat.system_role
        ('model', True)
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
    """Try whether a template knows a system role, and whether it keeps all texts."""
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
        f"The {name} chat template loses, repeats or reorders the texts: of system text, question and prefill "
        f"(0, 1, 2) it shows {kept}. Give another template: Jinja text that shows the 'content' of every message once."
    )


def spans(prompt: Prompt, chat: ChatFormat) -> list[tuple[str, str]]:
    """The text of a prompt as the template renders it, in pieces.

    Args:
        prompt: what to render; chat: from `chat_format`.

    Returns:
        (segment, text) pieces in order; together they are exactly the template's text. Segments are "system",
        "history", "question", "prefill", and "template" for what the template adds.

    Raises:
        SelfrepError: a template that alters the texts, so that their places cannot be known.

    Example:
        >>> from selfrep.models import organisms
        >>> chat = chat_format(organisms.tokenizer())
        >>> spans(Prompt("You are a nurse.", ("Who are you?",)), chat)[1:4]
        [('system', 'You are a nurse.'), ('template', '<end><usr>'), ('question', 'Who are you?')]
    """
    texts = (prompt.system, *prompt.turns, prompt.prefill)
    if not chat.system_role:  # the folded texts are set apart by a blank line, and by nothing else
        texts = (texts[0].strip(), texts[1].strip(), *texts[2:])
    segments = ("system", *("history" for _ in prompt.turns[1:]), "question", "prefill")
    rendered = _rendered(chat, texts)
    pieces = _marked(chat, texts)
    for clean in (str, str.strip):  # many templates trim what they are given
        parts = [("template", text) if slot is None else (segments[slot], clean(texts[slot])) for slot, text in pieces]
        if "".join(text for _, text in parts) == rendered:
            return [(segment, text) for segment, text in parts if text]
    raise SelfrepError(
        f"The {chat.name} chat template changes the texts it is given, so that the parts of the prompt cannot be found "
        f"again. It made {rendered!r} of {texts!r}. Give another template."
    )


_MARK = re.compile("\ue000(\\d+)\ue001")


def _marked(chat: ChatFormat, texts: tuple[str, ...]) -> list[tuple[int | None, str]]:
    """What the template puts around the texts: its own words (None, text) and marks (index in `texts`, "").

    Empty texts stay empty, since templates may treat them differently.
    """
    pieces = _MARK.split(_rendered(chat, tuple(f"\ue000{i}\ue001" if text else "" for i, text in enumerate(texts))))
    return [(int(piece), "") if k % 2 else (None, piece) for k, piece in enumerate(pieces)]


def _rendered(chat: ChatFormat, texts: tuple[str, ...]) -> str:
    """The template's text for (system, turns ..., prefill), ending where the model goes on writing."""
    system, *turns, prefill = texts
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
