"""What tells contents apart: sha256 of texts, and of plain data as JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def of_text(text: str) -> str:
    """sha256 of a text, in hexadecimal digits.

    Example:
        >>> of_text("")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def of_json(value: Any) -> str:
    """sha256 of plain data, whatever the order of their keys; what JSON lacks counts as its text.

    Example:
        >>> of_json({"a": 1, "b": [2]}) == of_json({"b": [2], "a": 1})
        True
    """
    return of_text(json.dumps(value, sort_keys=True, default=str))
