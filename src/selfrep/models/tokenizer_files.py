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
        parts = json.loads(file.read_text(encoding="utf-8"))
        parts = {name: part for name, part in parts.items() if name not in ("model", "added_tokens")}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise SelfrepError(f"{file} must describe a tokenizer, but cannot be read ({error}). Fetch it again.") from None
    for pattern in _patterns(parts):
        if repeats_repetition(pattern):
            raise SelfrepError(
                f"{file} has the pattern {pattern[:60]!r}, whose repetitions repeat: a short text could keep it busy "
                "for ever. Take the tokenizer from its authors, or write the pattern without a group that is repeated."
            )


def repeats_repetition(pattern: str) -> bool:
    """Whether a pattern repeats a group, without bound, that repeats something itself or has alternatives.

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
        elif _REPEATED.match(pattern, at):
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


def _patterns(part: Any) -> Iterator[str]:
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(pattern := part.get("Regex"), str):
                yield pattern
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
