"""Texts of strangers, made harmless where they are shown: on a terminal, and in a table that a spreadsheet opens.

Names, tokens, file names and models come from files that anybody may have written. A terminal obeys some characters
(colours, titles, what was typed next), others turn the direction of writing so that a line reads as what it is not, and
a spreadsheet computes a cell that begins like a formula. Web pages are escaped by their templates, figures by
`selfrep.plots.text`.
"""

from __future__ import annotations

import unicodedata

_KEPT = {"\n", "\t", "\N{ZERO WIDTH JOINER}", "\N{ZERO WIDTH NON-JOINER}"}
_OBEYED = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, direction and other formats, halves of pairs, line separators
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def for_terminal(text: object) -> str:
    """A text in which every character that a terminal would obey is written out.

    Example:
        >>> for_terminal("red: \\x1b[31m, backwards: \\u202e")
        'red: \\\\x1b[31m, backwards: \\\\u202e'
    """
    return "".join(ascii(c)[1:-1] if c not in _KEPT and unicodedata.category(c) in _OBEYED else c for c in str(text))


def escape(text: object) -> str:
    """A text for rich's markup: neither rich nor the terminal obeys it.

    Example:
        >>> escape("[bold]\\x07")
        '\\\\[bold]\\\\x07'
    """
    from rich.markup import escape as without_markup

    return without_markup(for_terminal(text))


def for_cell(value: object) -> object:
    """A value of a table: a text that a spreadsheet would compute begins with an apostrophe, numbers stay numbers.

    Example:
        >>> for_cell("=1+1"), for_cell("-2.5"), for_cell("-x"), for_cell(-2.5)
        ("'=1+1", '-2.5', "'-x", -2.5)
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value if value.isprintable() else f"'{value}"
