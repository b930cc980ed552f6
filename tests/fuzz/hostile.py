"""Inputs that are nearly right: valid files in which somebody changed a few places, and text that is none."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**30, -(10**400), 1e308, float("inf"), float("-inf"), float("nan"), 1e-320,
    "", " ", ".", "..", "/", "../../x", "/etc/passwd", "~", "~root", "a" * 10_000, "\x00", "\x1b[31m", "\u202egnp",
    "\ufeff", "e\u0301", "\u00e9", "\ud800", "\U0001f469\u200d\U0001f680", "\u2028", "<script>alert(1)</script>",
    "</script>",
    "{{ 7 * 7 }}", "{% for a in range(99999) %}", "{0.__class__}", "%s%n", "=1+1", "[red]", "[/]",
    "[link=file:///]x[/]", "null", "yes",
    "organism:bleed?beta=nan", "organism:?", "organism:separate?seed=1e9", "file", [], {}, [[]], [None], {"": None},
    {"file": "../../x"},
    {"file": "/dev/zero"}, {"file": "."}, {"names": []}, {"define": {}}, {"name": "x"},
    {"file": "a.yaml", "names": [1]}, {1: 2}, {None: None}, {True: "x"},
    [1, "a", None, {}], ["x"] * 300, b"\xff\x00", "2020-13-45",
)  # fmt: skip
"""What a field may meet that its author never thought of."""

SHREDS = (
    "!!python/object/apply:os.system ['true']", "!!binary x", "!!set {a}", "!<tag:x> 1", "&a [*a]", "*b", "<<: *a",
    "<<: 3", "? [a, b]: c",
    "\t", "\x00", "\ufeff", "0b_", "0o", "1:60:61", "2023-13-45", ".inf", "9" * 5000, "---\n", "...\n",
    "%YAML 9.9\n", "{" * 60, "[" * 2000, "'",
    '"\\ud800"', '"\\x1b"', "|\n", ">-9\n", "- ", ": ", "\r", "\u0085", "\u2028", "#", "null", "NaN", "Infinity",
    "-Infinity", "1e999", '{"a":' * 300, ",", "}", "]",
    "{{", "{%", "=", "@", "`", "!!timestamp x", "!!int x", "!!float ''", "!!omap [a]", "!!pairs [[a]]", "!!null x",
    "!!bool maybe", "=: 1",
)  # fmt: skip
"""Pieces of text that parsers stumble over."""


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in plain data, the whole first."""
    yield place
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*place, key))


def _changed(draw: Any, value: Any, place: tuple[Any, ...]) -> Any:
    """A copy in which what stands at a place is another thing, is gone, is deeper, or is called otherwise."""
    if not place:
        return draw(st.sampled_from(ODD))
    value = copy.deepcopy(value)
    *way, last = place
    holder = value
    for part in way:
        holder = holder[part]
    deed = draw(st.sampled_from(("replace", "replace", "replace", "drop", "nest", "rename", "swap", "repeat", "add")))
    if deed == "replace":
        holder[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
    elif deed == "drop":
        del holder[last]
    elif deed == "nest":
        holder[last] = draw(st.sampled_from(([holder[last]], {"name": holder[last]}, {"define": holder[last]})))
    elif deed == "swap":
        holder[last] = str(holder[last])
    elif isinstance(holder, dict):
        key = draw(st.sampled_from([odd for odd in ODD if isinstance(odd, str | int | float | None | bool)]))
        holder[key] = holder[last] if deed == "repeat" else holder.pop(last) if deed == "rename" else None
    else:
        holder += [holder[last]] * draw(st.sampled_from((1, 2, 100)))
    return value


@st.composite
def changed(draw: Any, valid: Any) -> Any:
    """Plain data in which one to three places were changed."""
    for _ in range(draw(st.integers(1, 3))):
        valid = _changed(draw, valid, draw(st.sampled_from(list(places(valid)))))
    return valid


@st.composite
def torn(draw: Any, text: str) -> bytes:
    """Text with pieces put in or cut out, or in another encoding."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from((0, 0, 1, 5, 10**6))))
        text = text[:start] + draw(st.sampled_from(("", *SHREDS))) + text[end:]
    encoding = draw(st.sampled_from(("utf-8",) * 8 + ("utf-16", "utf-32", "latin-1", "utf-8-sig")))
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def yaml_files(valid: Any) -> st.SearchStrategy[bytes]:
    """Files of YAML that are nearly `valid`."""
    text = yaml.safe_dump(valid, sort_keys=False)
    written = changed(valid).map(lambda value: yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    return st.one_of(*[written.map(_encoded)] * 3, torn(text), st.binary(max_size=60))


def json_files(valid: Any) -> st.SearchStrategy[bytes]:
    """Files of JSON that are nearly `valid`."""
    text = json.dumps(valid, indent=1)
    return st.one_of(*[changed(valid).map(_json)] * 3, torn(text), st.binary(max_size=60))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _json(value: Any) -> bytes:
    return json.dumps(_with_texts(value), default=repr).encode()


def _with_texts(value: Any) -> Any:
    """With keys that JSON has."""
    if isinstance(value, dict):
        return {str(key): _with_texts(inner) for key, inner in value.items()}
    return [_with_texts(inner) for inner in value] if isinstance(value, list) else value
