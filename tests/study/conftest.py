"""Whole runs, without what takes long and is tested elsewhere."""

from __future__ import annotations

import pytest
from tests.analyses.planted import rich

__all__ = ["rich"]


@pytest.fixture(autouse=True)
def _no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """No vector figures: a browser takes seconds for each."""
    monkeypatch.setattr("selfrep.report.figures.ENDINGS", (".html",))


@pytest.fixture
def pageless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither figures nor a page: for runs of which only the numbers are looked at, a third of their time."""
    monkeypatch.setattr("selfrep.study.run.drawings", lambda directory: ())
    for name in ("write_figures", "write_report"):
        monkeypatch.setattr(f"selfrep.study.run.{name}", lambda *_, **__: None)
