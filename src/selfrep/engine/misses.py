"""How far a self-check was missed: law → nats. Kept with results as JSON in one attribute; written and read here alone.

No torch, so that reports can read it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Misses = dict[str, float]
"""Law → by how much it was missed at most, in the metric's unit (nats)."""
ATTRIBUTE = "selfcheck"


def worst(*several: Mapping[str, float]) -> Misses:
    """The largest miss of each law."""
    out: Misses = {}
    for misses in several:
        for law, miss in misses.items():
            out[law] = max(miss, out.get(law, 0.0))
    return out


def to_attrs(misses: Mapping[str, float]) -> dict[str, str]:
    """Misses as an attribute of a Dataset."""
    return {ATTRIBUTE: json.dumps(dict(misses))}


def from_attrs(attrs: Mapping[Any, Any]) -> Misses:
    """The misses among the attributes of a Dataset; none where there was no self-check."""
    return {str(law): float(miss) for law, miss in json.loads(attrs.get(ATTRIBUTE) or "{}").items()}
