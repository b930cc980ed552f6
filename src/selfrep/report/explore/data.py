"""What the page to explore has in it: the atlases of a run as JSON, and all their numbers as float32 in base64.

A line of a map is the place where its numbers begin in one long array, so that what stands beside many maps (a mean, a
control) is kept once. Texts are kept once as well.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from selfrep.analyses import analyses
from selfrep.analyses.atlas import LAYER, PLACE, Atlas, Line, Sheet, Spoken, Voices
from selfrep.store.run_directory import RunDirectory

MOST = 3_000_000
"""How many bytes of numbers a page holds: 4 MB as base64."""


@dataclass
class Numbers:
    """Arrays, one behind another, each kept once.

    Example:
        >>> numbers = Numbers()
        >>> numbers.place(np.float32([[1, 2]])), numbers.place(np.float32([[3]])), numbers.place(np.float32([[1, 2]]))
        (0, 2, 0)
        >>> numbers.text()
        'AACAPwAAAEAAAEBA'
    """

    _places: dict[bytes, int] = field(default_factory=dict)
    _parts: list[bytes] = field(default_factory=list)
    bytes: int = 0

    def place(self, array: np.ndarray) -> int:
        """Where the numbers of an array begin, row by row."""
        part = np.ascontiguousarray(array, "<f4").tobytes()
        if part not in self._places:
            self._places[part] = self.bytes // 4
            self._parts.append(part)
            self.bytes += len(part)
        return self._places[part]

    def text(self) -> str:
        """All of them, little-endian, in base64."""
        return base64.b64encode(b"".join(self._parts)).decode("ascii")


@dataclass
class Texts:
    """Values of JSON, each kept once and found by its index."""

    values: list[Any] = field(default_factory=list)
    _places: dict[Any, int] = field(default_factory=dict)

    def place(self, key: Any, value: Any) -> int:
        """The index of a value, which is the same for the same key."""
        if key not in self._places:
            self._places[key] = len(self.values)
            self.values.append(value)
        return self._places[key]


def explored(run: RunDirectory, path: str = ".", most: int = MOST) -> dict[str, Any]:
    """What of a run can be explored.

    Args:
        run: the run; path: how its code calls the folder.
        most: how many bytes of numbers to take in; maps beyond are left out, and the page says how many.

    Returns:
        `atlases`, with `sheets` whose `lines` point into `numbers` (base64 of little-endian float32), and whose
        `tokens` and `prompts` into the lists of these names; `missing`: sentences on what was not measured;
        `findings` and `people`, to be searched.

    Raises:
        SelfrepError: a group that cannot be read.
    """
    numbers, tokens, prompts = Numbers(), Texts(), Texts()
    atlases, missing = [], []
    for made in _atlases(run):
        if isinstance(made, str):
            missing.append(made)
            continue
        placed = (_sheet(sheet, numbers, tokens, prompts, path) for sheet in made.sheets if numbers.bytes <= most)
        sheets = list(placed)
        atlases.append(_atlas(made, sheets))
    return {
        "atlases": atlases,
        "missing": missing,
        "numbers": numbers.text(),
        "tokens": tokens.values,
        "prompts": prompts.values,
        "findings": [_finding(finding) for finding in run.findings()],
        "people": _people(Voices.of(run)),
        "marks": {"layer": LAYER, "place": PLACE},
    }


def _atlases(run: RunDirectory) -> Iterable[Atlas | str]:
    for analysis in analyses():
        yield from analysis.load_report().atlases(run)


def _atlas(atlas: Atlas, sheets: list[dict[str, Any]]) -> dict[str, Any]:
    least, most = atlas.limits
    return {
        "name": atlas.name,
        "symbol": atlas.symbol,
        "title": atlas.title,
        "asks": atlas.asks,
        "layers": atlas.layers,
        "axis": atlas.axis,
        "places": atlas.places,
        "segments": atlas.segments,
        "picks": [{"label": pick.label, "options": pick.options} for pick in atlas.picks],
        "sheets": sheets,
        "left_out": len(atlas.sheets) - len(sheets),
        "least": least,
        "most": most if np.isfinite(most) else None,
    }


def _sheet(sheet: Sheet, numbers: Numbers, tokens: Texts, prompts: Texts, path: str) -> dict[str, Any]:
    return {
        "at": sheet.at,
        "lines": [_line(line, numbers) for line in sheet.lines],
        "code": sheet.code.replace("{path!r}", repr(path)),
        "tokens": tokens.place(sheet.tokens, sheet.tokens),
        "prompts": [prompts.place(spoken, _spoken(spoken)) for spoken in sheet.prompts],
        "notes": sheet.notes,
        "reason": sheet.reason,
    }


def _line(line: Line, numbers: Numbers) -> dict[str, Any]:
    ends = {name: getattr(line, name) for name in ("values", "low", "high", "p")}
    placed = {name: numbers.place(array) for name, array in ends.items() if array is not None}
    return {"label": line.label, "kind": line.kind} | placed


def _spoken(spoken: Spoken) -> dict[str, Any]:
    return {"who": spoken.who, "texts": [{"role": role, "text": text} for role, text in spoken.texts]}


def _finding(finding: Any) -> dict[str, str]:
    return {
        "title": finding.title,
        "value": finding.value_text,
        "interval": finding.interval_text,
        "control": finding.control,
        "how_sure": finding.how_sure or finding.reason,
        "about": finding.about,
    }


def _people(voices: Voices) -> list[dict[str, Any]]:
    return [
        {"label": persona.label, "texts": list(persona.descriptions), "kind": persona.kind_label or persona.kind}
        for persona in voices.people.values()
    ]
