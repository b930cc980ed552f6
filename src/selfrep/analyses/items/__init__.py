"""What each item shows: how far the two sides part in their answers, and what "the user is X" keeps of it."""

from __future__ import annotations

from selfrep.analyses.analysis import Analysis

IN_CHARACTER, SPECTATOR = "all in character", "all spectator, third person"
"""Rows of the group "items" that average several items."""

ITEMS = Analysis(
    "items",
    "how far the sides of personas part in their answers to each item (always)",
    runs="selfrep.analyses.items.runs:runs",
    report="selfrep.analyses.items.report:REPORT",
)
