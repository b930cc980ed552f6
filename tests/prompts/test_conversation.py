"""Conversations: read from the files of others, told turn by turn, and prompts like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfrep.errors import SelfrepError
from selfrep.models import organisms
from selfrep.prompts.chat import chat_format
from selfrep.prompts.conversation import Conversation, conversation, load_conversations
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

TURNS = ("Hello.", "I am a nurse.", "Who are you?", "I am a sailor.")
MESSAGES = [
    {"role": "system", "content": "You are a nurse."},
    {"role": "user", "content": [{"type": "text", "text": "Hello."}]},
    {"role": "assistant", "content": "<think>Who asks?</think>\n\nI am a nurse."},
    {"role": "user", "content": "Who are you?"},
    {"role": "assistant", "content": "I am a sailor.", "reasoning_content": "Now lie."},
]


def test_every_turn_is_a_segment_of_its_own_and_the_tokens_are_those_of_the_prompt() -> None:
    chat = chat_format(organisms.tokenizer())
    talk = conversation(*TURNS, system="You are a nurse.")
    tokens = render(talk, chat)
    assert tokens.ids == render(Prompt("You are a nurse.", TURNS[:3], TURNS[3]), chat).ids
    texts = {
        name: " ".join(t for t, s in zip(tokens.texts, tokens.segments, strict=True) if s == name)
        for name in talk.slots
    }
    assert texts["assistant 1"].split()[-2:] == ["nurse", "."]
    assert texts["user 2"].lower().startswith("who are you")
    assert set(tokens.segments) == {*talk.slots, "template"}


def test_a_conversation_knows_who_spoke_last_and_what_was_before() -> None:
    talk = conversation(*TURNS, name="shore", thoughts=["Who asks?"])
    assert (talk.last, talk.spoken, talk.thoughts) == ("assistant", TURNS, ("Who asks?", ""))
    assert (talk.before(2).spoken, talk.before(2).last, talk.before(2).thoughts) == (TURNS[:3], "user", ("Who asks?",))
    assert talk.before(1).spoken == TURNS[:1]
    assert talk.name == talk.item == "shore"
    with pytest.raises(SelfrepError, match="the turns 1 … 2"):
        talk.before(3)
    assert len(repr(conversation("a" * 10_000))) < 400


def test_chat_messages_are_read_with_thoughts_apart() -> None:
    talk = conversation(MESSAGES, name="shore")
    assert (talk.system, talk.spoken, talk.thoughts) == ("You are a nurse.", TURNS, ("Who asks?", "Now lie."))


def written(folder: Path, name: str, content: Any) -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return file


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("talk.json", MESSAGES, ["talk"]),
        ("talks.json", [MESSAGES, MESSAGES], ["talks 1", "talks 2"]),
        ("openai.jsonl", "\n".join(json.dumps({"messages": MESSAGES}) for _ in range(2)), ["openai 1", "openai 2"]),
        ("axis.json", {"id": "pirate_3", "conversation": MESSAGES}, ["pirate_3"]),
        ("inspect.json", {"version": 2, "samples": [{"id": 7, "messages": MESSAGES}]}, ["7"]),
        (
            "talks.yaml",
            'conversations:\n  shore: {system: You are a nurse., turns: [Hello., I am a nurse., "Who are you?", '
            "I am a sailor.]}",
            ["shore"],
        ),
    ],
)
def test_files_of_others_are_read(name: str, content: Any, names: list[str], tmp_path: Path) -> None:
    found = load_conversations(written(tmp_path, name, content))
    assert [talk.name for talk in found] == names
    for talk in found:
        assert isinstance(talk, Conversation)
        assert (talk.system, talk.spoken) == ("You are a nurse.", TURNS)


USER, ANSWER = MESSAGES[1], {"role": "assistant", "content": "Good day."}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ([], "holds no conversation"),
        ({"text": "Hello"}, "no list of messages"),
        ([[ANSWER]], "message 0 is of 'assistant', where the user has its turn"),
        ([[USER, USER]], "message 1 is of 'user', where the assistant"),
        ([[USER, ANSWER, {"role": "system", "content": "x"}]], "A system text comes first"),
        ([[USER | {"role": "tool"}]], "has 'tool'"),
        ([[USER | {"content": 3}]], "is int"),
        ([[USER | {"content": [{"type": "image_url"}]}]], "the type 'image_url'"),
        ([[USER | {"content": " "}]], "none of them empty"),
        ([["Hello"]], "message 0 has None"),
        ([5], "no list of messages"),
    ],
)
def test_what_is_no_conversation_is_refused_with_its_place(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SelfrepError, match=message):
        load_conversations(written(tmp_path, "talk.json", content))


def test_turns_and_thoughts_must_fit() -> None:
    for turns, thoughts, message in (
        ((), [], "texts"),
        (("Hello", " "), [], "empty"),
        (("Hello",), ["Hm"], "of which there are 0"),
    ):
        with pytest.raises(SelfrepError, match=message):
            conversation(*turns, thoughts=thoughts)
