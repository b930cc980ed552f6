"""Lists of what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.command import selfrep


def test_personas_and_models_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "John F. Kennedy" in selfrep("personas").stdout
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))  # read when it is imported
    empty = selfrep("models", SELFREP_CACHE=str(tmp_path))
    assert "No model is cached yet" in empty.stdout
