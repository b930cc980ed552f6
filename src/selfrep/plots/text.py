"""Words on figures. plotly reads a subset of HTML (and TeX between dollars) in every text, so whatever a user or a
tokenizer wrote is escaped here and nowhere else; and blanks are made visible, since a token may be nothing but blanks.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable

import xarray as xr

from selfrep.plots.theme import CHARACTER
from selfrep.stats.numbers import number

_BLANKS = {
    "\r\n": "⏎",
    "\n": "⏎",
    "\r": "⏎",
    "\t": "⇥",
    " ": "␣",
    "\N{NO-BREAK SPACE}": "␣",
    "\N{ZERO WIDTH JOINER}": "‿",
}


def plain(text: object) -> str:
    """Escaped for plotly: no tags, no TeX. Quotes stay, since plotly does not turn their entities back."""
    return html.escape(str(text), quote=False).replace("$", "&#36;")


def words(name: object) -> str:
    """A slug as words, escaped: old_sailor becomes old sailor. What has a label is called by it."""
    return plain(str(name).replace("_", " "))


def side_words(data: xr.Dataset) -> list[str]:
    """What the two sides of an estimate are called, escaped; nothing where it has none."""
    labels = data.attrs.get("side_labels")
    return [plain(label) for label in labels] if labels is not None else [words(s) for s in data.attrs.get("sides", ())]


def labels_of(data: xr.Dataset, name: str) -> dict[str, str]:
    """What the values of a coordinate are called, escaped: by the coordinate with the ending "_label", if there is one.

    Example:
        >>> people = xr.Dataset(coords={"kind": ("who", ["sage"]), "kind_label": ("who", ["wise old men"])})
        >>> labels_of(people, "kind")
        {'sage': 'wise old men'}
    """
    values = data[name].to_numpy().astype(str).tolist()
    labels = data[f"{name}_label"].to_numpy().astype(str).tolist() if f"{name}_label" in data.coords else values
    return {
        value: plain(label) if label != value else words(value) for value, label in zip(values, labels, strict=True)
    }


def by_label(data: xr.Dataset, name: str = "persona") -> xr.Dataset:
    """The data with labels in place of the names in a coordinate; a label that two share says nothing, and is not used.

    Example:
        >>> two = xr.Dataset(coords={"persona": ["hal_9000", "jfk"], "persona_label": ("persona", ["HAL 9000", ""])})
        >>> by_label(two).persona.values.tolist()
        ['HAL 9000', 'jfk']
    """
    if f"{name}_label" not in data.coords:
        return data
    column, labels = data[name], data[f"{name}_label"].to_numpy().astype(str).tolist()
    pairs = dict(zip(column.to_numpy().astype(str).tolist(), labels, strict=True))
    taken = list(pairs.values())
    called = [pairs[one] if pairs[one] and taken.count(pairs[one]) == 1 else one for one in map(str, column.to_numpy())]
    return data.assign_coords({name: (column.dims, called)})


def token(text: str, longest: int = 14) -> str:
    """A token as it stands on an axis: short, its blanks visible, except the usual one before a word."""
    bare = text.removeprefix(" ")
    return plain(shorten(_visible(bare if bare.strip() else text), longest))


def exact_token(text: str) -> str:
    """A token as it is, every blank visible."""
    return plain(_visible(text))


def shorten(text: str, longest: int) -> str:
    """At most so many characters, cut in the middle, where names differ least."""
    if len(text) <= longest:
        return text
    tail = (longest - 1) // 2
    return f"{text[: longest - 1 - tail]}…{text[len(text) - tail :]}"


def integer(value: int) -> str:
    """A whole number with a true minus."""
    return str(value).replace("-", "\N{MINUS SIGN}")


def interval(value: float, low: float = float("nan"), high: float = float("nan")) -> str:
    """A number and its interval, "0.31 [0.2, 0.42]"; without the interval where there is none."""
    if low != low or high != high:
        return number(float(value))
    return f"{number(float(value))} [{number(float(low))}, {number(float(high))}]"


def cell_interval(cell: xr.Dataset, name: str = "estimate") -> str:
    """A variable of one cell with its interval: `ci_low` and `ci_high`, after the name of any but "estimate"."""
    prefix = "" if name == "estimate" else f"{name}_"
    return interval(*(float(cell[key]) for key in (name, f"{prefix}ci_low", f"{prefix}ci_high")))


def reasons(array: xr.DataArray) -> str:
    """Why something is not identified, each reason once (raw)."""
    return "; ".join(dict.fromkeys(map(str, array.to_numpy())))


def hover(texts: Iterable[object]) -> dict[str, object]:
    """What a trace says of each of its points (escaped), and nothing else."""
    return {"text": list(texts), "hovertemplate": "%{text}<extra></extra>"}


def wrap(text: str, width: int) -> str:
    """A raw text in lines of at most `width` characters, escaped."""
    return "<br>".join(plain(line) for line in textwrap.wrap(text, width))


def reach(text: str, size: float) -> float:
    """About how wide an escaped text stands in type of this size (px)."""
    return len(html.unescape(text)) * size * CHARACTER


def _visible(text: str) -> str:
    for blank, sign in _BLANKS.items():
        text = text.replace(blank, sign)
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
