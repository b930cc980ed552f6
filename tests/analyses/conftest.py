"""Fixtures of the engine's and the prompts' tests that analyses with runs of their own need too."""

from __future__ import annotations

from tests.engine.conftest import talker
from tests.prompts.conftest import smollm

__all__ = ["smollm", "talker"]
