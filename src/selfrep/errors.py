"""The one exception a user should ever see: a broken rule, the value that broke it, and the fix.

Where the value is a word that is nearly right, the fix is the word it resembles: every room asks `close_match` for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SelfrepError(Exception):
    """Bad input or an environment that cannot serve it. The command line prints the message and exits with code 2.

    Example:
        >>> from selfrep.prompts import personas
        >>> try:
        ...     personas.builtin()["jfc"]
        ... except SelfrepError as error:
        ...     print(str(error)[:58])
        There is no persona named 'jfc' (did you mean 'jfk'?). The
    """


class CannotReplay(SelfrepError):
    """An architecture whose blocks cannot be replayed: patched runs of it take a whole forward pass each."""


PAUSED = 75
"""The exit code of a run that was told to stop: EX_TEMPFAIL of sysexits.h. Whoever starts it again lets it go on."""


class Paused(SelfrepError):
    """A run that was told to stop, and did so between two blocks. The command line ends with `PAUSED`."""


def close_match(word: object, known: Iterable[str], likeness: float = 0.6) -> str:
    """A hint for the end of an error message, or "" when no known word resembles this one.

    Args:
        word: what the user wrote; case does not matter.
        known: the words that would be right.
        likeness: from 0 to 1, how much of the two words must agree (`difflib.SequenceMatcher.ratio`).

    Returns:
        text that names up to three words, the closest first.

    Example:
        >>> close_match("humn", ["ai", "human"])
        " (did you mean 'human'?)"
        >>> close_match("robot", ["ai", "human"])
        ''
    """
    lowered = {option.lower(): option for option in known}
    close = difflib.get_close_matches(str(word).lower(), lowered, n=3, cutoff=likeness)
    return f" (did you mean {' or '.join(repr(lowered[c]) for c in close)}?)" if close else ""
