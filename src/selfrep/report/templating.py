"""How words and numbers get into a page: templates that escape what is put into them, and JSON that stays data."""

from __future__ import annotations

import json
import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def environment(*packages: str) -> Environment:
    """The templates of these packages: what is put into them is escaped, and must be there."""
    loader = ChoiceLoader([PackageLoader(package) for package in packages])
    return Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda piece: _PERCENT.sub("\u00a0%", piece) if type(piece) is str else piece,
    )


_PERCENT = re.compile(r"(?<=\d) %")
"""Where a line may not break: "77 %"."""


def inert(value: Any) -> str:
    """JSON in which nothing can end a script element."""
    text = json.dumps(value, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
