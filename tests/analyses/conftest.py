"""Fixtures of the engine's, the drawings' and the prompts' tests that analyses with runs of their own need too."""

from __future__ import annotations

from tests.engine.conftest import talker
from tests.plots.conftest import axis, identified, items, points, separation, shares, slopes, transfer
from tests.prompts.conftest import smollm

__all__ = ["axis", "identified", "items", "points", "separation", "shares", "slopes", "smollm", "talker", "transfer"]
