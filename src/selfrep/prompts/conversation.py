"""Conversations: a system text and any number of turns of both sides, each a segment of its own.

A conversation is a prompt, and goes wherever one goes: captured by turn, answered, read token by token. What a model
thought before it spoke is kept apart from what it said, as chat templates leave it out of earlier turns, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from selfrep.errors import SelfrepError
from selfrep.prompts import yaml_errors
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.shown import shown
from selfrep.prompts.yaml_errors import Entry

_THOUGHT = re.compile(r"\A\s*<think(?:ing)?>(.*?)</think(?:ing)?>\s*", re.DOTALL)
SIDES = ("user", "assistant")


@shown(lambda self: {"name": self.name, "system": self.system, "turns": len(self.spoken), "ends with": self.last})
@dataclass(frozen=True)
class Conversation(Prompt):
    """A conversation. Made by `conversation`, or read by `load_conversations`.

    Fields:
        name: what it is called; the others are those of `selfrep.Prompt`: where the assistant spoke last, `prefill` is
            what it said.
        thoughts: what the assistant thought before each of its turns, "" for nothing.
    """

    name: str = ""
    thoughts: tuple[str, ...] = field(default=())

    @property
    def spoken(self) -> tuple[str, ...]:
        """All turns, those of the user and of the assistant in turn."""
        return (*self.turns, self.prefill) if self.prefill else self.turns

    @property
    def last(self) -> str:
        """Who spoke last: "user" or "assistant"."""
        return "assistant" if self.prefill else "user"

    @property
    def slots(self) -> tuple[str, ...]:
        """The segments: "system", "user 1", "assistant 1", "user 2", …"""
        return ("system", *(f"{SIDES[i % 2]} {1 + i // 2}" for i in range(len(self.turns) + 1)))

    def before(self, turn: int) -> Conversation:
        """The conversation as it was before the assistant's turn of this number, counted from 1.

        Raises:
            SelfrepError: it has no such turn.

        Example:
            >>> talk = conversation("Hello!", "Good day, sir.", "Who are you?", "Your secretary.")
            >>> talk.before(2).spoken
            ('Hello!', 'Good day, sir.', 'Who are you?')
        """
        n = len(self.spoken) // 2
        if not 1 <= turn <= n:
            raise SelfrepError(f"The assistant has the turns 1 … {n} in this conversation; got {turn}.")
        return conversation(
            *self.spoken[: 2 * turn - 1], system=self.system, name=self.name, thoughts=self.thoughts[: turn - 1]
        )


def conversation(
    *turns: str | Sequence[Mapping[str, Any]],
    system: str = "",
    name: str = "",
    persona: str = "",
    thoughts: Sequence[str] = (),
) -> Conversation:
    """A conversation of these turns.

    Args:
        turns: what was said, by the user and the assistant in turn, the user first. Or one list of chat messages, as
            OpenAI's and Hugging Face's interfaces take them: {"role": "system" | "developer" | "user" | "assistant",
            "content": text, or a list of parts of the type "text"}, where `reasoning_content` (or `reasoning`), or a
            block <think>…</think> before the text, is a thought.
        system: the system text; name, persona: labels that travel with results.
        thoughts: what the assistant thought before each of its turns.

    Raises:
        SelfrepError: no turn, an empty one, or thoughts without a turn; messages of other roles, of sides that do not
            take turns, or whose content is no text.

    Example:
        >>> conversation("Hello!", "Good day, sir.", system="You are a butler.").slots
        ('system', 'user 1', 'assistant 1')
        >>> conversation([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]).system
        'Be brief.'
    """
    if len(turns) == 1 and not isinstance(turns[0], str) and not (system or thoughts):
        return _from_messages(turns[0], name, persona)
    if not turns or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise SelfrepError(
            f"The turns of a conversation are texts, none of them empty, the user's first; got {turns!r}."
        )
    if len(thoughts) > len(turns) // 2:
        raise SelfrepError(
            f"A thought belongs to a turn of the assistant, of which there are {len(turns) // 2}; got {len(thoughts)}."
        )
    said = tuple(map(str, turns))
    own, prefill = (said, "") if len(said) % 2 else (said[:-1], said[-1])
    padded = (*thoughts, *[""] * (len(turns) // 2 - len(thoughts)))
    return Conversation(system, own, prefill, persona=persona, item=name, name=name, thoughts=padded)


def _from_messages(messages: Sequence[Any], name: str, persona: str) -> Conversation:
    system: list[str] = []
    turns: list[str] = []
    thoughts: list[str] = []
    for k, message in enumerate(messages):
        role, text, thought = _message(message, k)
        if role in ("system", "developer"):
            if turns:
                raise SelfrepError(f"A system text comes first; message {k} is one, after {len(turns)} turns.")
            system.append(text)
            continue
        if role != SIDES[len(turns) % 2]:
            raise SelfrepError(
                f"User and assistant take turns, the user first; message {k} is of {role!r}, where the "
                f"{SIDES[len(turns) % 2]} has its turn."
            )
        turns.append(text)
        if role == "assistant":
            thoughts.append(thought)
    return conversation(*turns, system="\n\n".join(system), name=name, persona=persona, thoughts=thoughts)


def _message(message: Any, k: int) -> tuple[str, str, str]:
    """Role, text and thought of a message."""
    role = message.get("role") if isinstance(message, Mapping) else None
    if not isinstance(role, str) or role not in ("system", "developer", *SIDES):
        raise SelfrepError(
            f"A message has the role system, developer, user or assistant, and a text; message {k} has {role!r}."
        )
    content = message.get("content")
    thought = next((t for t in (message.get("reasoning_content"), message.get("reasoning")) if isinstance(t, str)), "")
    if isinstance(content, Sequence) and not isinstance(content, str):
        for part in content:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "reasoning" and isinstance(part.get("reasoning"), str):
                thought = part["reasoning"]
            elif kind != "text" or not isinstance(part.get("text"), str):
                raise SelfrepError(f"The parts of a message are texts; message {k} has one of the type {kind!r}.")
        content = "".join(part["text"] for part in content if part["type"] == "text")
    if not isinstance(content, str):
        raise SelfrepError(f"The content of a message is a text; that of message {k} is {type(content).__name__}.")
    if role == "assistant" and (block := _THOUGHT.match(content)):
        thought, content = block[1].strip(), content[block.end() :]
    return role, content, thought


class _Written(Entry):
    system: str = ""
    persona: str = ""
    turns: tuple[str, ...] = Field(min_length=1)
    thoughts: tuple[str, ...] = ()


class _File(Entry):
    conversations: dict[str, _Written]


def load_conversations(path: str | Path) -> tuple[Conversation, ...]:
    """The conversations of a file.

    Args:
        path: YAML (`conversations: {name: {system: …, persona: …, turns: […], thoughts: […]}}`); JSON or JSONL of chat
            messages: a list of messages, a list of such lists, or objects with `messages` or `conversation` (as the
            assistant axis keeps transcripts), with their `id` or `name`; or a log of Inspect as JSON, with `samples`.

    Raises:
        SelfrepError: a file that cannot be read or holds no conversation; the message names the place.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "talks.yaml")
        >>> _ = file.write_text('conversations: {greeting: {turns: ["Hello!", "Good day."]}}')
        >>> [(one.name, one.last) for one in load_conversations(file)]
        [('greeting', 'assistant')]
    """
    path = Path(path)
    text, origin = yaml_errors.read_text(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        written = yaml_errors.load(_File, text, origin).conversations
        return tuple(
            conversation(*one.turns, system=one.system, name=name, persona=one.persona, thoughts=one.thoughts)
            for name, one in written.items()
        )
    found = []
    for place, record in _records(path, text):
        try:
            found.append(_from_messages(record[1], record[0], ""))
        except SelfrepError as error:
            raise SelfrepError(f"{path}, {place}: {error}") from None
    if not found:
        raise SelfrepError(f"{path} holds no conversation: no list of messages with roles and contents.")
    return tuple(found)


def _records(path: Path, text: str) -> Iterator[tuple[str, tuple[str, Sequence[Any]]]]:
    """Where each conversation of a JSON file stands, its name, and its messages."""
    try:
        if path.suffix.lower() == ".jsonl":
            parts: Any = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            parts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SelfrepError(f"{path} is no JSON: {str(error)[:200]}.") from None
    if isinstance(parts, dict) and isinstance(parts.get("samples"), list):
        parts = parts["samples"]
    if isinstance(parts, dict) or (isinstance(parts, list) and parts and _is_message(parts[0])):
        parts = [parts]
    for k, part in enumerate(parts if isinstance(parts, list) else []):
        name = path.stem if len(parts) == 1 else f"{path.stem} {k + 1}"
        if isinstance(part, dict):
            name = next((str(part[key]) for key in ("name", "id") if isinstance(part.get(key), str | int)), name)
            part = next((part[key] for key in ("messages", "conversation") if isinstance(part.get(key), list)), None)
        if not isinstance(part, list):
            raise SelfrepError(f"{path}: conversation {k + 1} has no list of messages.")
        yield f"conversation {k + 1}", (name, part)


def _is_message(part: Any) -> bool:
    return isinstance(part, dict) and "role" in part
