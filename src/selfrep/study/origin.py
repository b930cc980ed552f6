"""With which weights and which prompts a run was begun: a run that was stopped goes on with the same, or not at all.

A study names its model and its texts, and yet either may be another tomorrow: weights are trained on, a configuration
is edited, a template reads the clock, a new tokenizer cuts words elsewhere. So a run directory keeps the clock that its
templates are told, what the model is (`selfrep.models.identity`), a hash of the token ids of every prompt, and the
versions of the packages that decide what is computed. A run goes on with the same, or is refused.

What only moves the rounding of the last digits is told and kept, not refused: the device, the version of Python, the
commit of a source tree. A run that began on one machine may end on another.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from selfrep import digests
from selfrep.errors import SelfrepError
from selfrep.models.identity import identity_of
from selfrep.models.language_model import LanguageModel
from selfrep.prompts.chat import THINKING, ChatFormat, opens_thought, spans
from selfrep.prompts.prompt import Prompt
from selfrep.prompts.render import render

CLOCK = "clock"
"""Where provenance.json keeps what templates that ask for the time are told."""
VERSIONED = ("selfrep", "torch", "transformers", "transformer-lens", "xarray", "zarr", "numpy", "plotly")
DECIDING = ("selfrep", "torch", "transformers")
"""Packages of which another version may compute something else, and not only round it otherwise; the rest stores,
draws, or makes estimates anew from what was measured."""
_MACHINE = ("device", "python", "git_commit")
_RESUMED = "resumed"
"""Where provenance.json keeps on which other machines a run went on."""


def clock_of(provenance: Mapping[str, Any]) -> datetime:
    """What the templates of a run are told: the time when it began, to the second.

    Example:
        >>> clock_of({"clock": "2026-11-30T12:00:00"}).day
        30
    """
    return datetime.fromisoformat(provenance[CLOCK]) if CLOCK in provenance else datetime.now().replace(microsecond=0)


def origin(lm: LanguageModel, prompts: Sequence[Prompt]) -> tuple[dict[str, Any], dict[Prompt, str]]:
    """What provenance.json keeps of the model, the program and the prompts of a run; and a hash of each prompt.

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
        **identity_of(lm),
        **machine_of(lm),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        "chat_template": template,
        CLOCK: lm.clock.isoformat(),
        "prompts": {
            "n": len(hashes),
            "hash": digests.of_text("".join(hashes.values())),
            "first": "".join(text for _, text in spans(prompts[0], chat)),
        },
    }, hashes


def machine_of(lm: LanguageModel) -> dict[str, str | None]:
    """What only moves the rounding of the last digits: the device, the version of Python, the commit of a source tree.

    Example:
        >>> import selfrep as sr
        >>> machine_of(sr.load_model("organism:separate"))["device"]
        'cpu'
    """
    return {"device": str(lm.device), "python": platform.python_version(), "git_commit": _commit()}


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path, measured: bool = False) -> None:
    """Refuse to go on in a run directory with another model, other prompts or another program than it was begun with.

    Args:
        before: the provenance of the directory; now: from `origin`; path: the directory.
        measured: whether it holds results, which must know where they come from.

    Raises:
        SelfrepError: they differ; the message says in what.

    Example:
        >>> require_same({"weights_hash": "ab"}, {"weights_hash": "cd"}, Path("out"))
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: out was begun with other weights (ab, now cd).
        ...
    """
    if measured and "weights_hash" not in before:
        raise SelfrepError(
            f"Results belong to a model; those in {path} do not say to which, since its provenance.json is gone or was "
            "changed. Put it back, choose another directory with --out, or start over with --fresh."
        )
    if differences := list(_differences(before, now)):
        raise SelfrepError(
            f"{path} was begun with {'; and with '.join(differences)}.\nWhat is there and what would be added do not "
            "go together: put it back as it was, choose another directory with --out, or start over with --fresh."
        )


def resumed(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What provenance keeps of a run that goes on, and what a user should be told of it ("" for nothing).

    The machine on which it began stays there; another on which it goes on is added.

    Example:
        >>> kept, told = resumed({"weights_hash": "ab", "device": "cpu"}, {"weights_hash": "ab", "device": "cuda:0"})
        >>> kept
        {'weights_hash': 'ab', 'device': 'cpu', 'resumed': [{'device': 'cuda:0'}]}
        >>> told
        'The run goes on with another device (cpu, now cuda:0): its last digits may be rounded otherwise from here on.'
    """
    if "weights_hash" not in before:
        return dict(now), ""
    began = {name: before[name] for name in _MACHINE if name in before}
    here = {name: now[name] for name in began if name in now and now[name] != began[name]}
    machines = [*before.get(_RESUMED, []), *([here] if here and here not in before.get(_RESUMED, []) else [])]
    told = ", ".join(f"another {name.replace('_', ' ')} ({began[name]}, now {value})" for name, value in here.items())
    return {**now, **began, **({_RESUMED: machines} if machines else {})}, told and (
        f"The run goes on with {told}: its last digits may be rounded otherwise from here on."
    )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    def changed(name: str) -> bool:
        return name in before and before[name] != now.get(name)

    if changed("weights_hash"):
        yield f"other weights ({before['weights_hash'][:12]}, now {now['weights_hash'][:12]})"
    for name in ("dtype", "attention"):
        if changed(name):
            yield f"another {name} ({before[name]}, now {now[name]})"
    for name, words in (("configuration", "configuration of the model"), ("generation", "configuration of writing")):
        if changed(name):
            yield f"another {words} ({_entries(before[name], now[name])})"
    if changed("tokenizer_hash"):
        yield f"another tokenizer ({_short(before['tokenizer_hash'])}, now {_short(now['tokenizer_hash'])})"
    versions = [{name: _public(of, name) for name in DECIDING} for of in (before, now)]
    if "versions" in before and versions[0] != versions[1]:
        yield f"other versions, which may compute something else ({_entries(*versions)})"
    if not changed("prompts") or before["prompts"]["hash"] == now["prompts"]["hash"]:
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


def _public(provenance: Mapping[str, Any], name: str) -> str:
    """A version without what stands for the machine that it was built for: 2.9.0 for 2.9.0+cpu."""
    return str(provenance.get("versions", {}).get(name, "none")).partition("+")[0]


def _short(digest: str | None) -> str:
    return (digest or "none")[:12]


def _entries(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The entries that differ, the first five of them: rms_norm_eps: 1e-05, now 1e-06."""

    def value(of: Mapping[str, Any], name: str) -> str:
        return json.dumps(of[name])[:60] if name in of else "none"

    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    told = [f"{name}: {value(before, name)}, now {value(now, name)}" for name in names[:5]]
    return "; ".join([*told, *([f"and {len(names) - 5} more"] if len(names) > 5 else [])])


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


def _commit() -> str | None:
    """The git commit of the source tree that runs, marked when changed since; None for an installed package."""
    here = Path(__file__).parents[1]
    asked = ["git", "--no-optional-locks", "-C", str(here)]
    asked += ["status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    commit = next((line.split()[-1] for line in told if line.startswith("# branch.oid")), None)
    changed = any(not line.startswith("#") for line in told)
    return f"{commit}-dirty" if commit and changed else commit
