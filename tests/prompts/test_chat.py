"""What a chat template can do to a conversation, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.prompts.chat import chat_format
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
