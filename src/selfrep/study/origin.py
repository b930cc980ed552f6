"""With which weights and which prompts a run was begun: a run that was stopped goes on with the same, or not at all.

A study names its model and its texts, and yet either may be another tomorrow: weights are trained on, a template reads
the clock, a new tokenizer cuts words elsewhere. So a run directory keeps the clock that its templates are told, the
hash of the weights, and a hash of the token ids of every prompt.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from selfrep.errors import SelfrepError
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.chat import THINKING, ChatFormat, opens_thought, spans
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

CLOCK = "clock"
"""Where provenance.json keeps what templates that ask for the time are told."""


def clock_of(provenance: Mapping[str, Any]) -> datetime:
    """What the templates of a run are told: the time when it began, to the second.

    Example:
        >>> clock_of({"clock": "2026-11-30T12:00:00"}).day
        30
    """
    return datetime.fromisoformat(provenance[CLOCK]) if CLOCK in provenance else datetime.now().replace(microsecond=0)


def origin(lm: LanguageModel, prompts: Sequence[Prompt]) -> tuple[dict[str, Any], dict[Prompt, str]]:
    """What provenance.json keeps of the weights and the prompts of a run; and the hash of each prompt's token ids.

    Args:
        lm: the model; prompts: at least one.

    Raises:
        SelfrepError: a prompt that the chat template cannot show.

    Example:
        >>> import selfrep as sr
        >>> kept, hashes = origin(sr.load_model("organism:separate"), [Prompt("You are a nurse.", ("Who are you?",))])
        >>> kept["prompts"]["first"], len(*hashes.values())
        ('<bos><self>You are a nurse.<end><usr>Who are you?<asst>', 16)
    """
    chat = lm.chat
    hashes = {prompt: render(prompt, chat).hash for prompt in prompts}
    template = {
        "name": chat.name,
        "text": chat.text,
        "system_role": chat.system_role,
        "variables": dict(chat.variables),
        "reads_clock": chat.reads_clock,
    }
    return {
        "weights_hash": lm.weights_hash,
        "chat_template": template,
        CLOCK: lm.clock.isoformat(),
        "prompts": {
            "n": len(hashes),
            "hash": hashlib.sha256("".join(hashes.values()).encode()).hexdigest(),
            "first": "".join(text for _, text in spans(prompts[0], chat)),
        },
    }, hashes


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on in a run directory with other weights or prompts than it was begun with.

    Args:
        before: the provenance of the directory; now: from `origin`; path: the directory.

    Raises:
        SelfrepError: they differ; the message says in what.

    Example:
        >>> require_same({"weights_hash": "ab"}, {"weights_hash": "cd"}, Path("out"))
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: out was begun with other weights (ab, now cd).
        ...
    """
    if differences := list(_differences(before, now)):
        raise SelfrepError(
            f"{path} was begun with {'; and with '.join(differences)}.\nWhat is there and what would be added do not "
            "go together: choose another directory with --out, or start over with --fresh."
        )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if before.get("weights_hash", now["weights_hash"]) != now["weights_hash"]:
        yield f"other weights ({before['weights_hash'][:12]}, now {now['weights_hash'][:12]})"
    if "prompts" not in before or before["prompts"]["hash"] == now["prompts"]["hash"]:
        return
    prompts, own = before["prompts"], now["prompts"]
    template, new = before.get("chat_template", {}), now["chat_template"]
    if template.get("variables", {}) != new["variables"]:
        yield f"other template variables ({template.get('variables', {})}, now {new['variables']})"
    if template.get("text", "") != new["text"]:
        yield f"another chat template:\n{_difference(template.get('text', ''), new['text'])}"
    if prompts["first"] != own["first"]:
        yield f"other prompts, of which the first differs so:\n{_difference(prompts['first'], own['first'])}"
    elif template.get("text", "") == new["text"]:
        yield f"other token ids in its {prompts['n']} prompts (the tokenizer has changed, or selfrep's own texts)"


def _difference(before: str, now: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), "in the directory", "now", lineterm="", n=0)
    return "\n".join(lines)


def warnings(chat: ChatFormat) -> Iterator[str]:
    """What a user should know of how a model is spoken to.

    Example:
        >>> from selfrep.models import organisms
        >>> from selfrep.prompts.chat import chat_format
        >>> tokenizer = organisms.tokenizer()
        >>> tokenizer.chat_template = None
        >>> list(warnings(chat_format(tokenizer)))
        ['The model has no chat template: a plain dialogue is used (see the report; chat_template changes it).']
    """
    if not chat.system_role:
        yield "The chat template has no system role: system texts stand at the head of the first user turn."
    if chat.name == "plain":
        yield "The model has no chat template: a plain dialogue is used (see the report; chat_template changes it)."
    if opens_thought(chat) or chat.variables.get(THINKING):
        yield (
            "The chat template lets the model think first: answers without a prefill are read where it begins to "
            "think. Give a template variable that turns thinking off, or another template."
        )
