"""What a chat template can do to a conversation, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts.chat import ChatFormat, chat_format, opens_thought, spans
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

from .conftest import CHATML, DROPS, GEMMA, LLAMA2, make_tokenizer

NURSE = Prompt(system="You are a nurse.", turns=("Who are you?",), prefill="I am a")


@pytest.mark.parametrize(
    ("template", "name", "system_role"),
    [
        (CHATML, "model", True),
        (LLAMA2, "model", True),
        (GEMMA, "model", False),  # refuses system messages
        (DROPS, "model", False),  # forgets them without a word
        (None, "plain", True),
    ],
)
def test_system_role_is_found_out_by_trying(template: str | None, name: str, system_role: bool) -> None:
    chat = chat_format(make_tokenizer(template))
    assert (chat.name, chat.system_role) == (name, system_role)
    assert template in (None, chat.text)


def test_own_template_can_be_replaced(chatml: Any) -> None:
    chat = chat_format(chatml, GEMMA)
    assert (chat.name, chat.system_role, chat.text) == ("custom", False, GEMMA)
    assert "model" in "".join(render(NURSE, chat).texts)


def test_templates_that_cannot_be_used_are_refused(chatml: Any) -> None:
    with pytest.raises(SelfrepError, match=r"loses, repeats or reorders.*shows \[2\]"):
        chat_format(chatml, "{% for m in messages if m['role'] != 'user' %}{{ m['content'] }}{% endfor %}")
    with pytest.raises(SelfrepError, match="refuses a conversation"):
        chat_format(chatml, "{{ messages[0]['content'] ")
    with pytest.raises(SelfrepError, match="changes the texts"):
        render(
            NURSE,
            chat_format(chatml, "{% for m in messages %}{{ m['content'] | replace('nurse', 'cook') }}\n{% endfor %}"),
        )


def test_tokenizers_without_offsets_are_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(SelfrepError, match=r"character offsets; got Slow.*use_fast=True"):
        chat_format(Slow())


CLOCK = (
    "{{ 'Today is ' + strftime_now('%d %b %Y') + '. ' }}"
    "{% if strftime_now is defined %}{{ strftime_now('%H') }}{% endif %}" + CHATML
)
DATED = "{{ '<|' + date_string + '|>' }}" + CHATML
THINKS = CHATML + (
    "{% if add_generation_prompt %}{{ '<think>' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '</think>' }}{% endif %}{% endif %}"
)


def text(chat: ChatFormat, prompt: Prompt = NURSE) -> str:
    return "".join(piece for _, piece in spans(prompt, chat))


def test_the_clock_of_a_template_stands_still(chatml: Any) -> None:
    first, again, other = (chat_format(chatml, CLOCK, clock=datetime(2026, 11, day, hour=9)) for day in (1, 1, 2))
    assert first.reads_clock
    assert text(first).startswith("Today is 01 Nov 2026. 09<|im_start|>")
    assert text(first) == text(again)
    assert text(other).startswith("Today is 02 Nov 2026. 09")
    assert text(first)[13:] == text(other)[13:]
    assert not chat_format(chatml).reads_clock


def test_what_stands_before_a_template_does_not_change_it(chatml: Any) -> None:
    for head in ("\n", "  ", "{# a note #}\n\n", "{%- set x = 1 %}\n"):
        plain = text(chat_format(chatml, head + CHATML))
        assert text(chat_format(chatml, head + CHATML + "{# strftime_now #}")) == plain


def test_variables_reach_the_template(chatml: Any) -> None:
    chat = chat_format(chatml, DATED, {"date_string": "26 Jul 2024"})
    assert text(chat).startswith("<|26 Jul 2024|><|im_start|>")
    assert chat.variables == {"date_string": "26 Jul 2024"}
    other = chat_format(chatml, DATED, {"date_string": "27 Jul 2024"})
    assert text(other).startswith("<|27 Jul 2024|>"), "what was learned of one is not taken for the other"


def test_variables_that_do_nothing_are_refused(chatml: Any) -> None:
    with pytest.raises(SelfrepError, match="does not read 'date_strin'"):
        chat_format(chatml, DATED, {"date_strin": "26 Jul 2024"})
    for name in ("messages", "tokenize", "strftime_now"):
        with pytest.raises(SelfrepError, match=f"may not be called '{name}'"):
            chat_format(chatml, DATED, {name: 1})


def test_a_model_does_not_think_before_it_answers_unless_asked(chatml: Any) -> None:
    bare = replace(NURSE, prefill="")
    silent, thinking = chat_format(chatml, THINKS), chat_format(chatml, THINKS, {"enable_thinking": True})
    assert text(silent, bare).endswith("<think></think>")
    assert text(thinking, bare).endswith("<think>")
    assert [opens_thought(chat) for chat in (silent, thinking, chat_format(chatml))] == [False, True, False]
    assert "enable_thinking" not in chat_format(chatml).variables, "only where the template reads it"


ONLY_FIRST = (  # drops the system text of a conversation that has a history
    "{% for m in messages if m['role'] != 'system' or messages | length < 4 %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
)
TWICE = "{% if messages | length > 3 %}{{ messages[1]['content'] }}{% endif %}" + CHATML
TRIMS_ONE = CHATML.replace("m['content']", "(m['content'] | trim if m['role'] == 'user' else m['content'])")
LATER = replace(NURSE, turns=("Hello!", "Hello there.", "Who are you?"))


@pytest.mark.parametrize(
    ("template", "shown"),
    [(ONLY_FIRST, "shows turn 1, turn 2, question, prefill"), (TWICE, "shows turn 1, system text, turn 1")],
    ids=["drops", "repeats"],
)
def test_a_template_that_loses_a_text_only_where_there_is_a_history_is_refused(
    chatml: Any, template: str, shown: str
) -> None:
    chat = chat_format(chatml, template)
    assert "You are a nurse." in text(chat), "the simplest conversation tells nothing"
    with pytest.raises(SelfrepError, match=shown):
        spans(LATER, chat)


def test_a_template_may_trim_one_slot_only(chatml: Any) -> None:
    padded = replace(LATER, system=" You are a nurse. ", turns=(" Hello! ", " Hello there. ", " Who are you? "))
    shown = dict(spans(padded, chat_format(chatml, TRIMS_ONE)))
    assert (shown["system"], shown["question"]) == (" You are a nurse. ", "Who are you?")
    assert text(chat_format(chatml, TRIMS_ONE), padded).count(" Hello there. ") == 1
