"""A tokenizer comes with regular expressions that somebody wrote, and a backtracking engine obeys them.

`(a+)+b` takes twice as long for each further letter that it is shown, and nothing can interrupt it. No tokenizer needs
a repetition of repetitions: texts are cut into runs. So such patterns are refused when a model's folder is looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfrep.errors import SelfrepError

FILE = "tokenizer.json"
MOST_ADDED, MOST_GROWTH = 100_000, 1_000
_REPEATED = re.compile(r"[*+]|\{\d*,\}|\{(?:\d*,)?\d{2,}\}")
"""What may match arbitrarily often, or so often that it makes no difference."""


def require_bounded(folder: Path) -> None:
    """Refuse a tokenizer that may take for ever, or that is no JSON. A folder without tokenizer.json is fine.

    Raises:
        SelfrepError: it names the file and the pattern.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / FILE).write_text('{"normalizer": {"pattern": {"Regex": "(a+)+b"}}}')
        >>> require_bounded(folder)
        Traceback (most recent call last):
        selfrep.errors.SelfrepError: ...tokenizer.json has the pattern '(a+)+b', whose repetitions repeat: ...
    """
    file = folder / FILE
    if not file.is_file():
        return
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        parts = {name: part for name, part in whole.items() if name not in ("model", "added_tokens")}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise SelfrepError(f"{file} must describe a tokenizer, but cannot be read ({error}). Fetch it again.") from None
    _require_few(file, whole)
    for pattern in _patterns(parts):
        if re.search(r"\\[1-9]|\\k", pattern):
            raise SelfrepError(
                f"{file} has the pattern {pattern[:60]!r}, which looks back at what it found: a short text could "
                "keep it busy for ever. Take the tokenizer from its authors."
            )
        if repeats_repetition(pattern):
            raise SelfrepError(
                f"{file} has the pattern {pattern[:60]!r}, whose repetitions repeat: a short text could keep it busy "
                "for ever. Take the tokenizer from its authors, or write the pattern without a group that is repeated."
            )


def _require_few(file: Path, parts: dict[str, Any]) -> None:
    """Refuse what makes a long text of a short one, and so many added tokens that they take minutes to read."""
    if (n := len(parts.get("added_tokens") or ())) > MOST_ADDED:
        raise SelfrepError(f"{file} adds {n:,} tokens; the most that are taken are {MOST_ADDED:,}.")
    growth = 1
    for part in _parts({name: parts.get(name) for name in ("normalizer", "pre_tokenizer")}):
        for text in (part.get("content"), part.get("prepend")):
            growth *= max(1, len(text)) if isinstance(text, str) else 1
    if growth > MOST_GROWTH:
        raise SelfrepError(
            f"{file} could make a text {growth:,} times as long by what it puts in; the most is {MOST_GROWTH:,}. Take "
            "the tokenizer from its authors."
        )
    for part in _parts(parts.get("post_processor")):
        known = part.get("special_tokens")
        used = [one.get("id") for one in _parts([part.get("single"), part.get("pair")]) if "id" in one]
        if isinstance(known, dict) and (unknown := [name for name in used if name not in (*known, "A", "B")]):
            raise SelfrepError(f"{file} puts the token {unknown[0]!r} around texts and does not say what it is.")


def repeats_repetition(pattern: str) -> bool:
    """Whether a pattern repeats a group, without bound, in which something repeats, may be missing or has alternatives.

    Example:
        >>> [repeats_repetition(pattern) for pattern in ("(a+)+", "(a|ab)*", r" ?\\p{L}+|\\s+(?!\\S)", r"(?:\\d{3})*")]
        [True, True, False, False]
    """
    open_groups, at = [False], 0  # whether each holds repetitions or alternatives
    while at < len(pattern):
        character, width = pattern[at], 1
        if character == "\\":
            width = 2
        elif character == "[":
            width = _length_of_class(pattern, at)
        elif character == "(":
            open_groups.append(False)
        elif character == "|":
            open_groups[-1] = len(open_groups) > 1 or open_groups[-1]
        elif character == ")" and len(open_groups) > 1:
            inner = open_groups.pop()
            if inner and _REPEATED.match(pattern, at + 1):
                return True
            open_groups[-1] |= inner
        elif _REPEATED.match(pattern, at) or (character == "?" and pattern[at - 1] != "(" and len(open_groups) > 1):
            open_groups[-1] = True
        at += width
    return False


def _length_of_class(pattern: str, start: int) -> int:
    """How long a class in brackets is; classes may lie in one another."""
    depth, at = 0, start
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 1
        elif pattern[at] == "[":
            depth += 1
        elif pattern[at] == "]" and at > start + 1:
            depth -= 1
            if depth == 0:
                return at - start + 1
        at += 1
    return 1


def _patterns(parts: Any) -> Iterator[str]:
    return (pattern for part in _parts(parts) if isinstance(pattern := part.get("Regex"), str))


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """All that has fields, however deep."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
