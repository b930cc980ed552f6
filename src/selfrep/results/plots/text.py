"""Words on figures. plotly reads a subset of HTML (and TeX between dollars) in every text, so whatever a user or a tokenizer
wrote is escaped here and nowhere else; and blanks are made visible, since a token may be nothing but blanks."""

from __future__ import annotations

import html
import textwrap

from selfrep.results.findings import number
from selfrep.results.plots.theme import CHARACTER

_VISIBLE = {"\r\n": "⏎", "\n": "⏎", "\r": "⏎", "\t": "⇥", " ": "␣", "\N{NO-BREAK SPACE}": "␣"}
_MINUS = "\N{MINUS SIGN}"


def plain(text: object) -> str:
    """Escaped for plotly: no tags, no TeX. Quotes stay, since plotly does not turn their entities back."""
    return html.escape(str(text), quote=False).replace("$", "&#36;")


def token(text: str, longest: int = 14) -> str:
    """A token as it is read on an axis: its blanks visible, shortened in the middle, escaped."""
    body = text
    if body != " " and body.startswith(" ") and body.strip():
        body = body[1:]  # the blank before a word says nothing on an axis; alone it is the token
    for blank, sign in _VISIBLE.items():
        body = body.replace(blank, sign)
    body = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in body)
    return plain(shortened(body, longest))


def exact_token(text: str) -> str:
    """A token as it is, every blank visible, for hover."""
    for blank, sign in _VISIBLE.items():
        text = text.replace(blank, sign)
    return plain("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def shortened(text: str, longest: int) -> str:
    """Cut in the middle, where names differ least."""
    if len(text) <= longest:
        return text
    head = (longest - 1 + 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def signed(value: int) -> str:
    """A whole number with a true minus."""
    return str(value).replace("-", _MINUS)


def interval(value: float, low: float, high: float) -> str:
    """ "0.31 [0.2, 0.42]", without the interval where there is none."""
    if low != low or high != high:
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def wrapped(text: str, width: int) -> str:
    """A raw text in lines of at most `width` characters, escaped."""
    return "<br>".join(plain(line) for line in textwrap.wrap(text, width))


def words(name: str) -> str:
    """A slug as words, escaped: fictional_ai -> fictional AI."""
    return plain(" ".join("AI" if w == "ai" else w for w in str(name).split("_")))


def reach(text: str, size: float) -> float:
    """About how wide a text stands (px); entities count as one character."""
    return len(html.unescape(text)) * size * CHARACTER
