"""Whole runs, without what takes long and is tested elsewhere."""

from __future__ import annotations

import pytest
from tests.analyses.planted import rich

__all__ = ["rich"]


@pytest.fixture(autouse=True)
def _no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """No vector figures: a browser takes seconds for each."""
    monkeypatch.setattr("selfrep.plots.browser", lambda: None)
