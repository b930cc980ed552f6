"""From the texts of a prompt to the one text that a model reads, with the place of every text inside it.

A chat template is a program: it may move, trim or drop what it is given, and it adds words of its own (some insert a
system prompt where none was given). So nothing is assumed about it. The conversation is rendered twice, once with marks
in place of its texts and once as it is. The marks show where every text lies: each must be there once and in order, and
the two renderings must agree letter for letter.

Some templates read a clock, or variables such as `enable_thinking`. Both are part of a `ChatFormat`, so that a prompt
is the same today and tomorrow.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import product
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from selfrep.errors import SelfrepError
from selfrep.prompts import template_limits
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

Variables: TypeAlias = Mapping[str, Any]
"""What a template reads beside the messages, e.g. {"enable_thinking": False, "date_string": "26 Jul 2024"}."""

THINKING = "enable_thinking"
"""The variable that Qwen 3 and others read; false unless it is given: answers are read where the model says them, and a
model that first thinks says "<think>" there."""


@dataclass(frozen=True, eq=False)
class ChatFormat:
    """How conversations become text for one tokenizer. Made by `chat_format`.

    Fields:
        tokenizer: a Hugging Face fast tokenizer.
        template: the Jinja text given to apply_chat_template; None for the tokenizer's own.
        name: "model" (the tokenizer's own template), "plain" (it has none) or "custom".
        system_role: False when a system text must become the beginning of the first user turn.
        variables: what the template reads beside the messages.
        clock: what a template that asks for the time is told.

    Example: see `chat_format`.
    """

    tokenizer: Tokenizer
    template: str | None
    name: TemplateName
    system_role: bool
    variables: Variables = field(default_factory=dict)
    clock: datetime = field(default_factory=datetime.now)

    @property
    def text(self) -> str:
        """The Jinja text in use, for the record."""
        if self.template is not None:
            return self.template
        own = self.tokenizer.chat_template
        return str(own.get("default", own) if isinstance(own, dict) else own)

    @property
    def reads_clock(self) -> bool:
        """Whether the template asks for the time."""
        return _CLOCK in self.text


_probes: WeakKeyDictionary[Tokenizer, dict[tuple[str | None, str, str], tuple[str | None, TemplateName, bool]]] = (
    WeakKeyDictionary()
)
"""Tokenizer → what was learned of its templates. A tokenizer that nobody else uses is forgotten."""


def chat_format(
    tokenizer: Tokenizer,
    template: str | None = None,
    variables: Variables | None = None,
    clock: datetime | None = None,
) -> ChatFormat:
    """How to put conversations to a model, learned from its chat template.

    Args:
        tokenizer: a Hugging Face fast tokenizer.
        template: a Jinja chat template to use instead of the tokenizer's own, or of the plain dialogue when it has
            none.
        variables: what the template reads beside the messages. `enable_thinking` is false unless it is given, since an
            answer is read where the model says it.
        clock: what a template that asks for the time is told; now, when None.

    Whether the template knows a system role is tried once for each tokenizer and template. A template that refuses
    system messages, or silently drops them, gets the system text at the beginning of the first user turn.

    Returns:
        `ChatFormat`: the `tokenizer`, the `template` in use (None: the tokenizer's own), its `name` and `system_role`,
        the `variables` and the `clock`.

    Raises:
        SelfrepError: a slow tokenizer, a template that fails on the simplest conversation or loses its texts, or a
            variable that it does not read.

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
    given = dict(variables or {})
    probes = _probes.setdefault(tokenizer, {})
    # a tokenizer may be given another template
    key = template, repr(tokenizer.chat_template), json.dumps(given, sort_keys=True, default=repr)
    if key not in probes:
        chat = _probe(tokenizer, template, given)
        probes[key] = chat.template, chat.name, chat.system_role
    chat = ChatFormat(tokenizer, *probes[key])
    thinks = {THINKING: False} if _reads(chat.text, THINKING) else {}
    return replace(chat, variables=thinks | given, clock=clock or datetime.now())


def _reads(template: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", template) is not None


def _check_variables(chat: ChatFormat) -> None:
    """Refuse variables that the template does not read, and names that are taken."""
    taken = {*inspect.signature(chat.tokenizer.apply_chat_template).parameters, "messages", _CLOCK, _TIMES}
    for name in chat.variables:
        if name in taken:
            raise SelfrepError(
                f"A template variable may not be called {name!r}, which selfrep or transformers puts in itself. "
                "Give another template that reads another name."
            )
        if not _reads(chat.text, name):
            raise SelfrepError(
                f"A template variable must be one that the chat template reads; the {chat.name} template does not read "
                f"{name!r}. See its text (`selfrep.load_model(…).chat.text`), or leave the variable out."
            )


def _probe(tokenizer: Tokenizer, template: str | None, variables: Variables) -> ChatFormat:
    """Try whether a template knows a system role, and whether it keeps all texts."""
    name: TemplateName = "custom"
    if template is None:
        own = tokenizer.chat_template
        template, name = (None, "model") if own else (PLAIN_TEMPLATE, "plain")
    _check_variables(ChatFormat(tokenizer, template, name, True, variables))
    kept: list[int] = []
    for system_role in (True, False):
        chat = ChatFormat(tokenizer, template, name, system_role, variables)
        try:
            kept = [slot for slot, _ in _marked(chat, ("system", "question", "prefill")) if slot is not None]
        except SelfrepError as error:
            if not system_role or isinstance(error.__cause__, template_limits.TooMuch):
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
    segments = prompt.slots
    rendered = _rendered(chat, texts)
    pieces = _marked(chat, texts)
    shown = [slot for slot, _ in pieces if slot is not None]
    if shown != [slot for slot, text in enumerate(texts) if text]:
        names = ("system text", *_turns(prompt.turns), "prefill")
        given = ", ".join(name for name, text in zip(names, texts, strict=True) if text)
        raise SelfrepError(
            f"A chat template must show each text of a conversation once and in order; of {given} the {chat.name} "
            f"template shows {', '.join(names[slot] for slot in shown) or 'none'}. It made {rendered!r}. Give another "
            "template."
        )
    for trimmed in _trimmings(texts):
        parts = [("template", text) if slot is None else (segments[slot], trimmed[slot]) for slot, text in pieces]
        if "".join(text for _, text in parts) == rendered:
            return [(segment, text) for segment, text in parts if text]
    raise SelfrepError(
        f"The {chat.name} chat template changes the texts it is given, so that the parts of the prompt cannot be found "
        f"again. It made {rendered!r} of {texts!r}. Give another template."
    )


_THOUGHT = re.compile(r"(</|\[/|<|\[)(?:seed:)?think(?:ing)?[>\]]", re.IGNORECASE)


def opens_thought(chat: ChatFormat) -> bool:
    """Whether an answer without a prefill would begin inside a thinking block that the template opens.

    Example:
        >>> from selfrep.models import organisms
        >>> opens_thought(chat_format(organisms.tokenizer()))
        False
    """
    tags = _THOUGHT.findall(_rendered(chat, ("System.", "Question?", "")))
    return bool(tags) and "/" not in tags[-1]


def _turns(turns: Sequence[str]) -> list[str]:
    return [*(f"turn {i}" for i in range(1, len(turns))), "question"]


def _trimmings(texts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The texts as a template may show them: many trim what they are given, some of them one role only."""
    return product(*(dict.fromkeys((text, text.strip(), text.rstrip(), text.lstrip())) for text in texts))


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
    template = _FROZEN_CLOCK + chat.text if chat.reads_clock else chat.template
    times: dict[str, str] = {}
    while True:
        try:
            template_limits.check(chat.text)
            with template_limits.limited():
                text = chat.tokenizer.apply_chat_template(
                    messages,
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=not prefill,
                    continue_final_message=bool(prefill),
                    **chat.variables,
                    **({_TIMES: times} if chat.reads_clock else {}),
                )
            if len(text) > template_limits.CHARACTERS + sum(map(len, texts)):
                raise template_limits.TooMuch(f"it makes {len(text):,} characters of them")
        except template_limits.NoRoom:
            raise
        except Exception as failure:  # noqa: BLE001 (a template can raise whatever it likes)
            error = _told(chat.clock, times, failure)
            if error is None:
                continue
            roles = ", ".join(message["role"] for message in messages)
            raise SelfrepError(
                f"The {chat.name} chat template refuses a conversation of {roles}: {str(error)[:500]}. Give another "
                "template."
            ) from error
        return str(text)


def _told(clock: datetime, times: dict[str, str], failure: Exception) -> Exception | None:
    """What is wrong with a template; None where it asked for the time, which is now among the `times`."""
    asked = _ASKED.fullmatch(str(failure)) if isinstance(failure, TemplateError) else None
    if asked is None or asked.group(1) in times:
        return failure
    if len(times) >= _MOST_TIMES or len(asked.group(1)) > _MOST_TIMES:
        return template_limits.TooMuch(f"it asks for more than {_MOST_TIMES} forms of the time, or for a longer one")
    try:
        times[asked.group(1)] = clock.strftime(asked.group(1))
    except ValueError as error:  # half a pair of surrogates; a form that the system does not know
        return error
    return None


_CLOCK, _TIMES, _MOST_TIMES = "strftime_now", "selfrep_times", 100
_ASKED = re.compile(f"{_TIMES}: (.*)", re.DOTALL)
_FROZEN_CLOCK = (
    f"{{%- macro {_CLOCK}(format) -%}}"
    f"{{%- if format not in {_TIMES} -%}}{{{{ raise_exception('{_TIMES}: ' + format) }}}}{{%- endif -%}}"
    f"{{{{ {_TIMES}[format] }}}}{{%- endmacro %}}\n"
)
"""Put before a template that asks for the time: transformers' own clock cannot be set, and it takes no functions. The
template asks for one format after another, and each is added to what it is told. The line break belongs to the macro:
what follows stands where it stood, at the beginning of a line."""
